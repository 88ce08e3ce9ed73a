"""The playground's files: served under a strict policy, and nothing else is."""

import re

import pytest

from service.routes.page import WEB, files
from tests.service.conftest import Server


def test_the_page_and_all_it_refers_to_are_served(server: Server) -> None:
    page = server.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.content == (WEB / "index.html").read_bytes()
    for name in re.findall(r'(?:src|href)="/?([\w.-]+\.\w+)"', page.text):
        assert server.get(f"/{name}").status_code == 200, name


def test_every_file_has_its_type_and_the_policy(server: Server) -> None:
    for name, path in files().items():
        answer = server.get(f"/{name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert server.get("/app.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/gone.js", "/../settings.py", "/%2e%2e%2fsettings.py", "/..%2fapp.py", "/web", "/README.md"]
)
def test_nothing_else_is(server: Server, path: str) -> None:
    answer = server.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
