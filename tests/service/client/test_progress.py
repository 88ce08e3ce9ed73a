"""A stream of a generate request -> steps, previews, the result or the failure."""

import base64
import json

import pytest

from service.client.errors import BadAnswer, Unreachable
from service.client.progress import ProgressReader, Step
from service.errors import WorkerDied
from service.sse import HEARTBEAT, error_event, event


def feed(reader: ProgressReader, *chunks: bytes) -> None:
    for line in b"".join(chunks).decode().split("\n"):
        reader.feed(line)


def test_steps_previews_and_the_result() -> None:
    steps: list[Step] = []
    reader = ProgressReader(steps.append)
    preview = {
        "step": 2,
        "num_steps": 3,
        "media_type": "image/jpeg",
        "b64": base64.b64encode(b"jpeg").decode(),
    }
    feed(
        reader,
        event("progress", {"step": 1, "num_steps": 3}),
        HEARTBEAT,
        event("preview", preview),
        event("something new", {"a": 1}),
        event("result", {"data": []}),
    )
    assert steps == [Step(1, 3), Step(2, 3, b"jpeg")]
    reply = reader.reply({"content-type": "text/event-stream", "x-request-id": "a"})
    assert json.loads(reply.body) == {"data": []}
    assert reply.media_type == "application/json"
    assert reply.headers["x-request-id"] == "a"


def test_a_failure_is_raised_as_itself() -> None:
    with pytest.raises(WorkerDied, match="ask again"):
        feed(ProgressReader(lambda _: None), error_event(WorkerDied("ask again")))


def test_a_stream_without_result_is_a_broken_connection() -> None:
    reader = ProgressReader(lambda _: None)
    feed(reader, event("progress", {"step": 1, "num_steps": 3}))
    with pytest.raises(Unreachable, match="before the result"):
        reader.reply({})


def test_an_event_that_cannot_be_read() -> None:
    with pytest.raises(BadAnswer, match="progress"):
        feed(ProgressReader(lambda _: None), event("progress", {"steps": 1}))
