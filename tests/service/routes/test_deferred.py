"""``prefer: respond-async``: who becomes a job, and what the same key means."""

import pytest
from fastapi import Request

from service.errors import InvalidParameter
from service.routes.deferred import idempotency_key, prefers_async
from tests.service.conftest import Server, as_file, picture
from tests.service.jobs.kinds.conftest import wait

ASYNC = {"prefer": "respond-async"}


def request_with(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs, "path": "/", "query_string": b""})


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("respond-async", True),
        ("Respond-Async, wait=10", True),
        ("wait=10;x, respond-async;q=1", True),
        ("return=minimal", False),
        ("respond-asynchronously", False),
        ("", False),
    ],
)
def test_the_preference(header: str, wanted: bool) -> None:
    assert prefers_async(request_with(prefer=header)) is wanted


@pytest.mark.parametrize("key", ["", " a", "a ", "ü", "a" * 256, "a\tb"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter, match="Idempotency-Key"):
        idempotency_key(request_with(idempotency_key=key))


def test_keys() -> None:
    assert idempotency_key(request_with()) is None
    assert idempotency_key(request_with(idempotency_key="4b1c f00d")) == "4b1c f00d"


def test_what_is_wrong_is_told_at_once(server: Server) -> None:
    """A request that would be refused is not taken as a job."""
    for path, request, code in (
        ("/v1/encode", {"content": b"no picture"}, "not_an_image"),
        ("/v1/encode", {"content": as_file(picture(8, 8)), "params": {"model": "none"}}, "unknown_model"),
        ("/v1/generate", {"json": {"label": "no such class"}}, "unknown_label"),
        ("/v1/decode", {"content": b"no latent"}, "not_a_tensor"),
    ):
        answer = server.post(path, headers=ASYNC, **request)
        assert answer.json()["error"]["code"] == code, answer.text


def test_the_same_key_makes_one_job(server: Server) -> None:
    asked = {"label": 0, "seed": 1, "num_steps": 2}
    headers = ASYNC | {"idempotency-key": "one of a kind"}
    first = server.post("/v1/generate", json=asked, headers=headers)
    again = server.post("/v1/generate", json=asked, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = server.post("/v1/generate", json=asked | {"seed": 2}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_conflict")
    assert other.json()["error"]["job"] == first.json()["id"]
    body = {"content": as_file(picture(8, 8))}
    assert (
        server.post("/v1/encode", headers=headers, **body).json()["error"]["code"] == "idempotency_conflict"
    )
    job = wait(server, first.json()["id"])
    assert (job["status"], job["attempts"]) == ("completed", 1)
    later = server.post("/v1/generate", json=asked, headers=headers)  # it has ended: still the same
    assert (later.json()["id"], later.json()["status"]) == (job["id"], "completed")


def test_routes_without_a_job_form_answer_at_once(server: Server) -> None:
    assert server.get("/v1/models", headers=ASYNC).status_code == 200
