"""The application without its worker: keys, readiness, unknown addresses, the OpenAPI document, and no torch."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import ROOT, as_file, environment, models_setting, picture

V1 = [
    ("POST", "/v1/encode"),
    ("POST", "/v1/decode"),
    ("POST", "/v1/reconstruct"),
    ("POST", "/v1/remote/decode"),
    ("POST", "/v1/remote/encode"),
    ("POST", "/v1/generate"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("GET", "/v1/models"),
]


@pytest.fixture
def app(models: dict[str, Path]) -> FastAPI:
    return create_app(Settings(models=models_setting(models), api_keys="alpha,beta"))


def ask(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """One request in this process; the worker is never started."""

    async def course() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(course())


@pytest.mark.parametrize(("method", "path"), V1)
def test_every_route_asks_for_a_key(app: FastAPI, method: str, path: str) -> None:
    answer = ask(app, method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    wrong = ask(app, method, path, headers={"authorization": "Bearer gamma"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "bad_key")
    basic = ask(app, method, path, headers={"authorization": "Basic alpha"})
    assert basic.status_code == 401


@pytest.mark.parametrize("key", ["alpha", "beta"])
def test_known_keys_open(app: FastAPI, key: str) -> None:
    assert ask(app, "GET", "/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/", "/openapi.json"])
def test_health_and_page_need_no_key(app: FastAPI, path: str) -> None:
    assert ask(app, "GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/encode", "/v1/decode", "/v1/reconstruct", "/v1/generate"])
def test_not_ready_before_the_worker_is(app: FastAPI, path: str) -> None:
    answer = ask(app, "POST", path, content=as_file(picture(8, 8)), headers={"authorization": "Bearer alpha"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert int(answer.headers["retry-after"]) >= 1
    assert ask(app, "GET", "/health/ready").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/encode", 405, "method_not_allowed"),
        ("POST", "/v1/gone", 404, "not_found"),
        ("GET", "/v1/gone/deeper", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
    ],
)
def test_unknown_addresses_have_the_one_shape(
    app: FastAPI, method: str, path: str, status: int, code: str
) -> None:
    answer = ask(app, method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_defect_is_told_by_incident_alone(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise KeyError("/secret/path")

    app.router.add_api_route("/v1/broken/now", broken)
    answer = ask(app, "GET", "/v1/broken/now")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert error["incident"] in caplog.text
    assert answer.headers["x-request-id"]
    assert "total;dur=" in answer.headers["server-timing"]


ORIGIN = {"origin": "https://lab.example.org"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/gone", "/health/ready"])
def test_pages_of_other_origins_are_not_answered_unless_set(models: dict[str, Path], path: str) -> None:
    closed = create_app(Settings(models=models_setting(models)))
    assert "access-control-allow-origin" not in ask(closed, "GET", path, headers=ORIGIN).headers
    named = create_app(
        Settings(models=models_setting(models), cors_origins="https://lab.example.org/, http://x")
    )
    answer = ask(named, "GET", path, headers=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == "https://lab.example.org"
    assert answer.headers["access-control-expose-headers"] == "*"
    assert (
        "access-control-allow-origin" not in ask(named, "GET", path, headers={"origin": "http://y"}).headers
    )


def test_a_browser_may_ask_before_it_asks(models: dict[str, Path]) -> None:
    app = create_app(Settings(models=models_setting(models), cors_origins="*", api_keys="alpha"))
    wish = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-priority",
    }
    answer = ask(app, "OPTIONS", "/v1/encode", headers=ORIGIN | wish)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["x-request-id"]


def test_the_openapi_document_describes_every_route(app: FastAPI) -> None:
    document = ask(app, "GET", "/openapi.json").json()
    for method, path in V1:
        route = document["paths"][path][method.lower()]
        assert route["security"], path
        assert route["summary"]
        for status, answer in route["responses"].items():
            if int(status) >= 400:
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (path, status)
        if method == "POST":
            assert route["requestBody"]["required"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"image/png", "image/jpeg", "image/webp", "application/json"} <= set(
        document["paths"]["/v1/generate"]["post"]["responses"]["200"]["content"]
    )
    assert "x-tessera-psnr" in document["paths"]["/v1/reconstruct"]["post"]["responses"]["200"]["headers"]
    names = {item["name"] for item in document["paths"]["/v1/decode"]["post"]["parameters"]}
    assert {"model", "output", "x-tessera-size", "x-tessera-spec"} <= names


def test_every_reference_of_the_openapi_document_resolves(app: FastAPI) -> None:
    document = ask(app, "GET", "/openapi.json").json()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert len(found) > 20
    for reference in found:
        assert reference.split("/")[-1] in document["components"]["schemas"], reference


def test_the_http_process_never_imports_torch(models: dict[str, Path]) -> None:
    """Build the application and answer requests, errors and pictures included, in a fresh process."""
    program = """
import asyncio, sys
import httpx
import service.__main__
from service import codecs
from service.app import create_app
from service.settings import Settings

async def course():
    app = create_app(Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path in ("/v1/models", "/health/ready", "/openapi.json", "/", "/gone"):
            await client.get(path)
        app.state.service.engine.require_ready = lambda: None
        for path in ("/v1/encode", "/v1/decode", "/v1/generate"):
            assert (await client.post(path, content=b"hello")).status_code in (400, 415, 422), path

asyncio.run(course())
heavy = sorted({"torch", "diffusers", "transformers", "accelerate"} & sys.modules.keys())
assert not heavy, heavy
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(models=models_setting(models)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
