"""Files as answers: ranges as the RFC has them, and never more than was promised while a file grows."""

from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from service.jobs.errors import BadRange
from service.routes.files import file_part, parse_range

CONTENT = bytes(range(100))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes=99-99", (99, 100)),
        ("bytes=5-4", None),  # what makes no sense is as if it were not there
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_behind_the_end(header: str) -> None:
    with pytest.raises(BadRange, match="100 bytes"):
        parse_range(header, 100)


def test_an_answer_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(CONTENT)
    app = FastAPI()

    @app.get("/")
    def get(request: Request) -> Response:
        answer = file_part(request, path, "text/plain", {"x-more": "yes"})
        with path.open("ab") as stream:  # it grows between the promise and the reading
            stream.write(b"more")
        return answer

    with TestClient(app) as client:
        whole = client.get("/")
        part = client.get("/", headers={"range": "bytes=10-19"})
        rest = client.get("/", headers={"range": "bytes=100-"})
    assert (whole.status_code, whole.content, whole.headers["x-more"]) == (200, CONTENT, "yes")
    assert (part.status_code, part.content) == (206, CONTENT[10:20])
    assert part.headers["content-range"] == "bytes 10-19/104"
    assert rest.content == b"moremore"
    assert rest.headers["x-content-type-options"] == "nosniff"
