"""Server-sent events: news of a request while it runs, then its result, over one answer.

A client that reads slowly loses news, never the result, and holds up nobody: what waits for it is bounded. A comment
now and then keeps proxies from closing a quiet connection. A client that leaves ends the work.

Source: WHATWG HTML Living Standard, section 9.2, server-sent events (fields, comments, the empty line that ends one).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from typing import TYPE_CHECKING

from starlette.responses import Response

from service.errors import InternalError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": still here\n\n"
HEARTBEAT_S = 10.0
MAX_WAITING = 4
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",  # nginx would hold events back otherwise
}


def event(name: str | None, data: object) -> bytes:
    """One event as bytes: its name, and ``data`` as JSON in one line, or as it is if it is JSON in bytes already."""
    text = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    lines = b"\n".join(b"data: " + line for line in text.splitlines())
    return head + lines + b"\n\n"


def error_event(error: ServiceError) -> bytes:
    """A failure after the answer has begun: the event ``error`` with the body that the answer would have had."""
    return event("error", error.to_json())


class Events:
    """Events on their way to one client; used from the event loop only.

    Args:
        max_waiting: news that may wait; the oldest makes room for the newest.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: deque[tuple[bytes, bool]] = deque()  # and whether it is news
        self._max_waiting = max_waiting
        self._news = 0
        self._dropped = 0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def dropped(self) -> int:
        """News that this client was too slow for."""
        return self._dropped

    def put(self, chunk: bytes) -> None:
        """Send for certain, in order."""
        self._waiting.append((chunk, False))
        self._changed.set()

    def offer(self, chunk: bytes) -> None:
        """News, such as progress or a preview: sent unless newer news crowd it out."""
        if self._news == self._max_waiting:
            oldest = next(index for index, (_, is_news) in enumerate(self._waiting) if is_news)
            del self._waiting[oldest]
            self._dropped += 1
        else:
            self._news += 1
        self._waiting.append((chunk, True))
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._changed.set()

    async def take(self, heartbeat_s: float = HEARTBEAT_S) -> bytes | None:
        """The next event, a heartbeat after so much silence, or None at the end."""
        while not self._waiting:
            if self._closed:
                return None
            self._changed.clear()
            try:
                async with asyncio.timeout(heartbeat_s):
                    await self._changed.wait()
            except TimeoutError:
                return HEARTBEAT
        chunk, is_news = self._waiting.popleft()
        self._news -= is_news
        return chunk


class EventStream(Response):
    """An answer of server-sent events.

    Args:
        events: what ``work`` puts its events in.
        work: returns when there are no more events; cancelled when the client leaves.
        on_error: the event that tells of a failure of ``work``.
        outlive_client: let ``work`` finish when the client leaves.
        headers: further ones.
        heartbeat_s: silence after which a comment is sent.
    """

    media_type = MEDIA_TYPE
    charset = "utf-8"

    def __init__(
        self,
        events: Events,
        work: Callable[[], Awaitable[None]],
        *,
        on_error: Callable[[ServiceError], bytes] = error_event,
        outlive_client: bool = False,
        headers: Mapping[str, str] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS | dict(headers or {}))
        self._events = events
        self._work = work
        self._on_error = on_error
        self._on_end: Callable[[], Awaitable[object]] | None = None
        self._outlive_client = outlive_client
        self._heartbeat_s = heartbeat_s

    def at_end(self, then: Callable[[], Awaitable[object]]) -> None:
        """Do this when all is over, however it ended."""
        self._on_end = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        work = asyncio.create_task(self._run())
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.cancelled() and (failure := sending.exception()) is not None:
                logger.debug("the client cannot be reached: %s", failure)
            if self._outlive_client:
                await work
        finally:
            for task in (work, sending, gone):
                task.cancel()
            await asyncio.gather(work, sending, gone, return_exceptions=True)
            if self._on_end is not None:
                await self._on_end()

    async def _run(self) -> None:
        try:
            await self._work()
        except ServiceError as error:
            self._events.put(self._on_error(error))
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            logger.error("incident %s in a stream", incident, exc_info=error)
            message = f"the server failed on this request; its log has the reason under incident {incident}"
            self._events.put(self._on_error(InternalError(message, details={"incident": incident})))
        finally:
            self._events.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while (chunk := await self._events.take(self._heartbeat_s)) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
