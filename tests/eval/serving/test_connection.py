"""The connection of the load generator against servers that answer in every way."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from eval.serving.connection import BROKEN, Connection, Reply, request_bytes

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def ask(*answers: Answer, keep: bool = True, requests: int | None = None) -> list[Reply]:
    """Replies to as many requests, one after the other on one connection, of a server with these answers."""

    async def main() -> list[Reply]:
        script = iter(answers)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, StopIteration):
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(
                        int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                    )
                    await next(script)(head, writer)
                    await writer.drain()
            writer.close()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        connection = await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1], keep=keep)
        message = request_bytes("POST", "/x", "here", {"a": "b"}, b"body")
        replies = [await connection.request(message) for _ in range(requests or len(answers))]
        connection.vanish()
        await served.wait()
        server.close()
        await server.wait_closed()
        return replies

    return asyncio.run(main())


def says(text: bytes, *, close: bool = False, pieces: int = 1) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        step = -(-len(text) // pieces)
        for first in range(0, len(text), step):
            writer.write(text[first : first + step])
            await writer.drain()
            await asyncio.sleep(0.001)
        if close:
            writer.close()

    return answer


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Batch-Size: 3\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 429 Full\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 7, 30])
def test_bodies_with_a_length_and_in_chunks_however_they_arrive(pieces: int) -> None:
    first, second, third = ask(says(GOOD, pieces=pieces), says(CHUNKED, pieces=pieces), says(GOOD))
    assert (first.status, first.body, first.headers["x-batch-size"]) == (200, b"hello", "3")
    assert (second.status, second.body, second.num_bytes) == (429, b"hello", 5)
    assert third.status == 200


def test_a_body_that_ends_with_its_connection() -> None:
    (reply,) = ask(says(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True))
    assert (reply.status, reply.body) == (200, b"all of it")


def test_no_body_at_all() -> None:
    first, second = ask(says(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"), says(GOOD))
    assert (first.status, first.num_bytes, second.status) == (204, 0, 200)


def test_a_connection_that_breaks_is_told_and_stays_so() -> None:
    cut = says(GOOD[:-2], close=True)
    assert ask(cut, requests=2) == [BROKEN, BROKEN]
    assert ask(says(b"HTTP/1.1 200", close=True)) == [BROKEN]


def test_bodies_are_counted_and_not_kept() -> None:
    (reply,) = ask(says(GOOD), keep=False)
    assert (reply.num_bytes, reply.body) == (5, b"")


def test_a_request_is_what_http_asks_for() -> None:
    message = request_bytes("POST", "/v1/x?a=b", "here:1", {"x-y": "z"}, b"body")
    assert message == b"POST /v1/x?a=b HTTP/1.1\r\nhost: here:1\r\ncontent-length: 4\r\nx-y: z\r\n\r\nbody"


def test_nobody_there(unused_port: int) -> None:
    with pytest.raises(OSError, match=str(unused_port)):
        asyncio.run(Connection.open("127.0.0.1", unused_port))
