"""Replays: the application sees the request that came, and the job has what it answered."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from service.engine.messages import GenerateJob
from service.engine.messages import Progress as Step
from service.jobs.folders import BODY
from service.jobs.kind import Again, Refused, Run
from service.jobs.record import Progress
from service.jobs.replay import Mark, Replayed, mark_of, stored
from service.jobs.surroundings import Surroundings
from tests.service.jobs.conftest import OpenStore, new

KIND = Replayed("encode", "/v1/encode")
app = FastAPI()


@app.post("/v1/encode")
async def echo(request: Request) -> Response:
    mark = mark_of(request)
    assert mark is not None
    mark.on_step(Step(1, 3, 8))
    told = {name: value for name, value in request.headers.items() if name != "content-length"}
    body = json.dumps({"query": dict(request.query_params), "headers": told}).encode() + await request.body()
    headers = {
        "x-tessera-size": "1,2",
        "x-batch-size": "1",
        "x-request-id": "no",
        "cache-control": "no-store",
    }
    return Response(body, headers=headers, media_type="image/png")


@app.post("/v1/refused")
async def refused(request: Request) -> Response:
    body = await request.json()
    return JSONResponse({"error": body["error"]}, body["status"])


def make_run(tmp_path: Path, open_store: OpenStore, path: str, body: bytes, news: list[Progress]) -> Run:
    sent = {
        **{"content-type": "image/jpeg", "x-tessera-spec": "abc", "authorization": "Bearer secret"},
        **{"host": "example.org", "prefer": "respond-async", "cookie": "no", "x-timeout-ms": "5"},
    }
    (tmp_path / BODY).write_bytes(body)
    record, _ = open_store().add(new(1, request=stored(path, "what=latent&model=a%20b", sent)))
    around = Surroundings(app, None, {}, str, "", False, bool, bool)  # type: ignore[arg-type]  # none asked for
    return Run(record, tmp_path, around, news.append)


def test_the_application_sees_what_came_and_no_key(tmp_path: Path, open_store: OpenStore) -> None:
    news: list[Progress] = []
    run = make_run(tmp_path, open_store, "/v1/encode", b"\x00body", news)
    result = asyncio.run(KIND.run(run))
    head, _, tail = (tmp_path / result.file).read_bytes().rpartition(b"\x00")
    assert tail == b"body"
    seen: dict[str, Any] = json.loads(head)
    assert seen["query"] == {"what": "latent", "model": "a b"}
    assert seen["headers"] == {
        **{"content-type": "image/jpeg", "x-tessera-spec": "abc"},
        **{"x-priority": "batch", "x-request-id": run.record.id, "host": "localhost"},
    }
    assert "secret" not in json.dumps(run.record.request)
    assert (result.media_type, result.headers) == (
        "image/png",
        {"x-tessera-size": "1,2", "x-batch-size": "1"},
    )
    assert result.num_bytes >= len(b"\x00body") + (tmp_path / result.file).stat().st_size
    assert news == [Progress(3, 8, "steps")]


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (422, {"code": "wrong_shape", "message": "m", "param": "z"}, Refused),
        (507, {"code": "out_of_memory", "message": "m"}, Refused),
        (504, {"code": "timed_out", "message": "m"}, Refused),
        (429, {"code": "queue_full", "message": "m", "retry_after_s": 7.5}, Again),
        (503, {"code": "worker_died", "message": "m", "retry_after_s": 10}, Again),
    ],
)
def test_refusals(
    tmp_path: Path, open_store: OpenStore, status: int, error: dict[str, object], raised: type[Exception]
) -> None:
    body = json.dumps({"status": status, "error": error}).encode()
    run = make_run(tmp_path, open_store, "/v1/refused", body, [])
    with pytest.raises(raised) as caught:
        asyncio.run(KIND.run(run))
    if isinstance(caught.value, Refused):
        assert caught.value.error == error
    else:
        assert isinstance(caught.value, Again)
        assert caught.value.after_s == error["retry_after_s"]
        assert caught.value.interrupted is (error["code"] == "worker_died")


def test_a_defect_without_words_is_told_as_one(tmp_path: Path, open_store: OpenStore) -> None:
    run = make_run(tmp_path, open_store, "/nowhere", b"", [])  # FastAPI's own 404, which has another shape
    with pytest.raises(Exception, match="answered 404"):
        asyncio.run(KIND.run(run))


def test_cancelling_ends_the_request(tmp_path: Path, open_store: OpenStore) -> None:
    begun, cancelled = asyncio.Event(), []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun.set()
        try:
            await receive()  # nobody hangs up
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def course() -> None:
        run = make_run(tmp_path, open_store, "/v1/encode", b"", [])
        task = asyncio.create_task(KIND.run(replace(run, around=replace(run.around, app=endless))))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(course())
    assert cancelled == [True]


def test_requests_from_outside_are_never_marked() -> None:
    scope = {"type": "http", "headers": [(b"tessera.job", b"1")], "query_string": b"tessera.job=1"}
    assert mark_of(Request(scope)) is None
    assert mark_of(Request(scope | {"tessera.job": "forged"})) is None


def test_marked_jobs_have_time_and_tell_their_steps() -> None:
    job = GenerateJob(
        **{"id": 1, "model": "m", "cost": 1, "submitted_at": 0.0, "label": 0, "num_images": 1},
        **{"num_steps": 100, "guidance": 1.0, "seed": 0, "size": (8, 8), "output": "png"},
    )
    adapted = Mark(lambda _: None).adapt(job, 77.0)
    assert (adapted.progress_every, adapted.timeout_s) == (4, 77.0)
    assert replace(adapted, progress_every=0, timeout_s=None) == job
