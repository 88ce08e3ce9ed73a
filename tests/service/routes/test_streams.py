"""News and results of a job as events, and what admission refuses before the first of them."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from service.access import record_of
from service.engine.messages import Answer, Job, Progress
from service.errors import QueueFull
from service.openai.errors import error_body
from service.routes.streams import admitted, error_told, result_event, tell
from service.sse import Events

JOB = Job(id=1, model="tiny", cost=1, submitted_at=0.0)
HEADERS = {"x-tessera-size": "8,16", "x-tessera-spec": "0123"}


def parsed(chunk: bytes) -> tuple[str, dict[str, Any]]:
    name, data = chunk.decode().strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_progress_is_told_with_its_preview() -> None:
    async def course() -> list[bytes | None]:
        events = Events()
        tell(events, Progress(1, 2, 20))
        tell(events, Progress(1, 3, 20, b"\xff\xd8jpeg"))
        return [await events.take() for _ in range(3)]

    first, second, preview = (parsed(chunk) for chunk in asyncio.run(course()) if chunk is not None)
    assert first == ("progress", {"step": 2, "num_steps": 20})
    assert second == ("progress", {"step": 3, "num_steps": 20})
    assert preview[0] == "preview"
    assert preview[1] | {"b64": ""} == {"step": 3, "num_steps": 20, "media_type": "image/jpeg", "b64": ""}
    assert base64.b64decode(preview[1]["b64"]) == b"\xff\xd8jpeg"


def test_the_result_has_one_shape_for_one_and_for_several() -> None:
    timing = {"core": 1.234}
    one = Answer(1, b"\x89PNG", "image/png", HEADERS, 3, timing, bucket=4)
    several = {"seed": 7, "size": [8, 16], "spec_id": "0123", "media_type": "image/png"}
    data = [{"index": 0, "b64": base64.b64encode(b"\x89PNG").decode()}]
    many = Answer(1, json.dumps(several | {"data": data}).encode(), "application/json", HEADERS, 3, timing, 4)
    told: dict[str, object] = {
        "headers": HEADERS,
        "batch_size": 3,
        "batch_bucket": 4,
        "timings_ms": {"core": 1.23},
    }
    assert parsed(result_event(one, 7)) == ("result", several | {"data": data} | told)
    assert parsed(result_event(many, 7)) == parsed(result_event(one, 7))


def test_a_failure_on_the_way_stands_in_the_log_too() -> None:
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": [], "client": None})
    name, facts = parsed(error_told(request, QueueFull("ask again in 1 s")))
    assert (name, facts["error"]["message"]) == ("error", "ask again in 1 s")
    assert record_of(request).error == "queue_full"
    told = error_told(request, QueueFull("ask again in 1 s"), body_of=error_body)
    assert parsed(told)[1]["error"]["type"] == "rate_limit_error"


def test_admission_refuses_before_the_stream_begins() -> None:
    async def submit(_: Job, on_progress: object) -> Answer:
        raise QueueFull("ask again in 1 s")

    service = SimpleNamespace(engine=SimpleNamespace(submit=submit))
    with pytest.raises(QueueFull):
        asyncio.run(admitted(service, JOB, None))  # type: ignore[arg-type]  # the engine alone is used


def test_later_failures_are_left_to_whoever_waits() -> None:
    async def submit(_: Job, on_progress: object) -> Answer:
        await asyncio.sleep(0)
        raise QueueFull("late")

    async def course() -> None:
        service = SimpleNamespace(engine=SimpleNamespace(submit=submit))
        work = await admitted(service, JOB, None)  # type: ignore[arg-type]  # as above
        with pytest.raises(QueueFull, match="late"):
            await work

    asyncio.run(course())
