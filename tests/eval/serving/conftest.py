"""A small server for loads, a free port, and a session over the nearly free model."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eval.serving.session import Session
from eval.serving.settings import ServingConfig


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(slots=True)
class Busy:
    """A server that answers every request after ``delay_s``, at most ``places`` at once, the rest with 429."""

    port: int = 0
    delay_s: float = 0.0
    places: int = 1000
    inside: int = 0
    most: int = 0
    seen: list[bytes] = field(default_factory=list)
    gone: int = 0


@pytest.fixture
def busy() -> Iterator[Busy]:
    """Served by another thread."""
    server = Busy()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                server.seen.append(head.split(b"\r\n")[0] + b" " + await reader.readexactly(length))
                if server.inside >= server.places:
                    writer.write(b"HTTP/1.1 429 Full\r\nretry-after-ms: 70\r\ncontent-length: 0\r\n\r\n")
                    continue
                server.inside += 1
                server.most = max(server.most, server.inside)
                await asyncio.sleep(server.delay_s)
                server.inside -= 1
                if writer.is_closing() or reader.at_eof():
                    server.gone += 1
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nx-batch-size: 2\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def main() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        ready.set()

    loop.run_until_complete(main())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    assert ready.is_set()
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)

    async def end() -> None:
        left = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(end())
    loop.close()


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Over the nearly free model."""
    config = ServingConfig(
        tokenizer="free",
        generator=None,
        operations=("encode", "decode"),
        resolution=64,
        max_batch=2,
        seconds=0.2,
        warmup_s=0.1,
        calls=3,
        threads=1,
        device="cpu",
        out=tmp_path_factory.mktemp("serving"),
    )
    return Session.open(config)


@pytest.fixture
def body(tmp_path: Path) -> Callable[[bytes], str]:
    """A file that holds these bytes."""

    def write(content: bytes) -> str:
        path = tmp_path / f"body-{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return str(path)

    return write
