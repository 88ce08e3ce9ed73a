"""Events: their bytes, what slow clients lose, heartbeats, failures on the way, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import QueueFull
from service.sse import HEARTBEAT, Events, EventStream, event


def test_an_event_is_a_name_and_one_line_of_json() -> None:
    assert (
        event("progress", {"step": 1, "text": "a\nb"})
        == b'event: progress\ndata: {"step":1,"text":"a\\nb"}\n\n'
    )
    assert event(None, b'{"a": 1}') == b'data: {"a": 1}\n\n'
    assert event("log", b"one\ntwo") == b"event: log\ndata: one\ndata: two\n\n"


def drained(events: Events) -> list[bytes]:
    async def course() -> list[bytes]:
        events.close()
        taken = []
        while (chunk := await events.take()) is not None:
            taken.append(chunk)
        return taken

    return asyncio.run(course())


def test_the_oldest_news_makes_room_and_the_rest_never_does() -> None:
    events = Events(max_waiting=2)
    events.offer(b"1")
    events.put(b"first")
    for news in (b"2", b"3", b"4"):
        events.offer(news)
    events.put(b"last")
    assert events.dropped == 2
    assert drained(events) == [b"first", b"3", b"4", b"last"]


def test_news_that_was_taken_makes_room() -> None:
    async def course() -> None:
        events = Events(max_waiting=1)
        for index in range(5):
            events.offer(str(index).encode())
            assert await events.take() == str(index).encode()
        assert events.dropped == 0

    asyncio.run(course())


def test_silence_is_broken_by_a_comment() -> None:
    async def course() -> list[bytes | None]:
        events = Events()
        taken = [await events.take(heartbeat_s=0.01)]
        asyncio.get_running_loop().call_soon(events.put, b"late")
        taken.append(await events.take(heartbeat_s=30))
        asyncio.get_running_loop().call_soon(events.close)
        return [*taken, await events.take(heartbeat_s=30)]

    assert asyncio.run(course()) == [HEARTBEAT, b"late", None]


class Client:
    """The other end of a connection: what it got, when it leaves, and whether it reads."""

    def __init__(self, *, leaves_after: bytes | None = None, reads: bool = True) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._leaves_after = leaves_after
        self._may_read = asyncio.Event()
        if reads:
            self._may_read.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self._may_read.wait()
        self.messages.append(message)
        if self._leaves_after is not None and self._leaves_after in message.get("body", b""):
            self.gone.set()

    def read_on(self) -> None:
        self._may_read.set()

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


async def answered(stream: EventStream, client: Client) -> None:
    async with asyncio.timeout(20):
        await stream({"type": "http"}, client.receive, client.send)


def test_the_stream_is_headers_events_and_an_end() -> None:
    async def course() -> Client:
        client, events = Client(), Events()

        async def work() -> None:
            events.offer(b"news")
            await asyncio.sleep(0)
            events.put(b"result")

        await answered(EventStream(events, work, headers={"x-tessera-seed": "7"}), client)
        return client

    client = asyncio.run(course())
    headers = dict(client.messages[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert (headers[b"cache-control"], headers[b"x-tessera-seed"]) == (b"no-store", b"7")
    assert b"content-length" not in headers
    assert client.text == b"newsresult"
    assert client.messages[-1]["more_body"] is False


@pytest.mark.parametrize(
    ("failure", "code"),
    [(QueueFull("ask again in 1 s"), "queue_full"), (KeyError("/secret"), "internal_error")],
)
def test_a_failure_becomes_an_event(failure: Exception, code: str, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def course() -> Client:
        client = Client()

        async def work() -> None:
            raise failure

        async def on_end() -> None:
            ended.append("end")

        stream = EventStream(Events(), work)
        stream.at_end(on_end)
        await answered(stream, client)
        return client

    text = asyncio.run(course()).text
    name, data = text.decode().strip().split("\n")
    error = json.loads(data.removeprefix("data: "))["error"]
    assert (name, error["code"], ended) == ("event: error", code, ["end"])
    assert b"secret" not in text
    assert ("incident" in caplog.text) is (code == "internal_error")


def leaving(outlive_client: bool) -> list[str]:
    """What became of the work of a client that leaves after the first event."""
    fate: list[str] = []

    async def course() -> None:
        client, events = Client(leaves_after=b"first"), Events()

        async def work() -> None:
            events.put(b"first")
            try:
                await client.gone.wait()
                await asyncio.sleep(0.05)
                fate.append("finished")
            except asyncio.CancelledError:
                fate.append("cancelled")
                raise

        await answered(EventStream(events, work, outlive_client=outlive_client), client)

    asyncio.run(course())
    return fate


def test_a_client_that_leaves_cancels_the_work_unless_it_asked_not_to() -> None:
    assert leaving(outlive_client=False) == ["cancelled"]
    assert leaving(outlive_client=True) == ["finished"]


def test_a_client_that_does_not_read_loses_news_and_gets_the_result() -> None:
    async def course() -> tuple[Client, Events]:
        client, events = Client(reads=False), Events(max_waiting=2)

        async def work() -> None:
            for index in range(1000):
                events.offer(b"<%d>" % index)
                await asyncio.sleep(0)
            client.read_on()
            events.put(b"result")

        await answered(EventStream(events, work), client)
        return client, events

    client, events = asyncio.run(course())
    assert client.text.endswith(b"<998><999>result")
    assert len(client.text) < 40
    assert events.dropped >= 996


def test_a_connection_that_breaks_ends_the_work() -> None:
    async def course() -> list[str]:
        fate: list[str] = []
        events = Events()

        async def work() -> None:
            events.put(b"x")
            try:
                await asyncio.sleep(60)
            finally:
                fate.append("ended")

        async def send(_: Any) -> None:
            raise OSError("gone")

        stay: Callable[[], Awaitable[Any]] = asyncio.Event().wait
        async with asyncio.timeout(20):
            await EventStream(events, work)({"type": "http"}, stay, send)
        return fate

    assert asyncio.run(course()) == ["ended"]
