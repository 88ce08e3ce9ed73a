"""A small server for loads, a free port, and a session over the nearly free model."""

import contextlib
import http.server
import select
import socket
import threading
import time
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
    """Served by threads of this process."""
    state = Busy()
    lock = threading.Lock()

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                state.seen.append(f"POST {self.path} ".encode() + body)
                full = state.inside >= state.places
                state.inside += not full
                state.most = max(state.most, state.inside)
            if full:
                self._answer(429, b"", "retry-after-ms", "70")
                return
            time.sleep(state.delay_s)
            with lock:
                state.inside -= 1
            try:
                self._answer(200, b"ok", "x-batch-size", "2")
            except ConnectionError:
                state.gone += 1

        def _answer(self, status: int, body: bytes, *header: str) -> None:
            if select.select([self.connection], [], [], 0)[0]:  # it was closed: nothing else comes unasked
                raise ConnectionResetError
            self.send_response(status)
            self.send_header(*header)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = False  # so that leaving waits for all of them
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


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
