"""One HTTP/1.1 connection that sends prepared bytes and counts what comes back; knows nothing else of HTTP.

A load generator shares its machine with what it measures, so it must cost little: requests are built once, bodies are
counted and not kept unless asked for.

Source: RFC 9112, sections 2 (messages), 6 (bodies) and 7.1 (chunked coding).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: of HTTP; 0 where the connection broke before the answer was whole.
        headers: names in lower case.
        num_bytes: of the body.
        body: kept if asked for.
    """

    status: int
    headers: Mapping[str, str]
    num_bytes: int
    body: bytes = b""


BROKEN = Reply(0, {}, 0)


def request_bytes(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Connection(asyncio.Protocol):
    """A kept connection; one request at a time."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Reply] | None = None
        self._reset()

    @classmethod
    async def open(cls, host: str, port: int, *, keep: bool = False) -> Connection:
        """Connect.

        Args:
            host, port: of the server.
            keep: whether bodies are kept.

        Raises:
            OSError: nobody answers.
        """
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(keep=keep), host, port)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, message: bytes) -> Reply:
        """Send a whole request and wait for the whole answer; ``BROKEN`` if the connection ends before."""
        if self._transport is None or self._transport.is_closing():
            return BROKEN
        self._reset()
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._future

    def vanish(self) -> None:
        """Go away at once, as a client that was killed."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self._headers:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > MAX_HEAD_BYTES:
                    self.vanish()
                return
            self._read_head(bytes(self._head[:end]))
            data = bytes(self._head[end + 4 :])
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        whole = (
            self._headers and self._left is None and not self._chunked
        )  # such a body ends with the connection
        self._answer(
            Reply(self._status, self._headers, self._num_bytes, b"".join(self._body)) if whole else BROKEN
        )

    def _reset(self) -> None:
        self._head = bytearray()
        self._headers: dict[str, str] = {}
        self._status = 0
        self._left: int | None = None
        self._chunked = False
        self._chunks = bytearray()
        self._num_bytes = 0
        self._body: list[bytes] = []

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self._status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        self._headers = {name.strip().lower(): value.strip() for name, _, value in pairs} or {"": ""}
        self._chunked = self._headers.get("transfer-encoding", "").lower() == "chunked"
        length = self._headers.get("content-length")
        if length is not None and not self._chunked:
            self._left = int(length)
        elif self._status in (204, 304):
            self._left = 0

    def _take(self, data: bytes) -> None:
        if self._chunked:
            self._take_chunks(data)
            return
        self._count(data)
        if self._left is not None and self._num_bytes >= self._left:
            self._done()

    def _take_chunks(self, data: bytes) -> None:
        self._chunks += data
        while (end := self._chunks.find(b"\r\n")) >= 0:
            size = int(bytes(self._chunks[:end]).partition(b";")[0], 16)
            if len(self._chunks) < end + 2 + size + 2:
                return
            self._count(bytes(self._chunks[end + 2 : end + 2 + size]))
            del self._chunks[: end + 2 + size + 2]
            if size == 0:
                self._done()
                return

    def _count(self, data: bytes) -> None:
        self._num_bytes += len(data)
        if self._keep:
            self._body.append(data)

    def _done(self) -> None:
        self._answer(Reply(self._status, self._headers, self._num_bytes, b"".join(self._body)))
        if self._headers.get("connection", "").lower() == "close" and self._transport is not None:
            self._transport.close()

    def _answer(self, reply: Reply) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(reply)
