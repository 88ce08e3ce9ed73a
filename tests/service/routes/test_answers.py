"""From a job to an answer: bytes as they are, and no work for clients that went away."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fastapi import Request

from service.engine.messages import Answer, Job
from service.errors import NotFinite
from service.routes.answers import ClientGone, respond, run

JOB = Job(id=1, model="tiny", cost=1, submitted_at=0.0)
ANSWER = Answer(1, b"\x00bytes", "image/png", {"x-tessera-size": "1,2"}, 3, {"queue": 0.5, "core": 2.0})


def course(submit: Callable[..., Awaitable[Answer]], gone_after_s: float) -> object:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(gone_after_s)
        return {"type": "http.disconnect"}

    service = SimpleNamespace(engine=SimpleNamespace(submit=submit), jobs=None)
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    return asyncio.run(run(service, request, JOB))  # type: ignore[arg-type]  # the engine alone is used


def test_the_answer_is_forwarded() -> None:
    response = respond(ANSWER)
    assert (response.body, response.media_type) == (b"\x00bytes", "image/png")
    assert response.headers["x-batch-size"] == "3"
    assert response.headers["server-timing"] == "queue;dur=0.50, core;dur=2.00"


def test_buckets_are_told_as_they_can_be_sent_back() -> None:
    for bucket, decode_bucket, told in ((8, None, "8"), (8, 8, "8"), (8, 2, "8/2"), (None, None, None)):
        answer = replace(ANSWER, bucket=bucket, decode_bucket=decode_bucket)
        assert respond(answer).headers.get("x-batch-bucket") == told


def test_an_answer_in_time() -> None:
    async def submit(_: Job, **__: object) -> Answer:
        return ANSWER

    assert course(submit, 60).body == b"\x00bytes"  # type: ignore[attr-defined]


def test_errors_pass() -> None:
    async def submit(_: Job, **__: object) -> Answer:
        raise NotFinite("say what to do")

    with pytest.raises(NotFinite):
        course(submit, 60)


def test_a_client_that_goes_cancels_its_job() -> None:
    cancelled: list[int] = []

    async def submit(job: Job, **_: object) -> Answer:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(job.id)
            raise
        return ANSWER

    with pytest.raises(ClientGone):
        course(submit, 0.01)
    assert cancelled == [1]
