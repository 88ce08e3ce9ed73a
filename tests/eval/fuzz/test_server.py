"""The attack on a server that fails is seen, with its input; tests/service/test_hostile_bytes.py attacks a real one."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from eval.fuzz.server import attack


class Failing(http.server.BaseHTTPRequestHandler):
    """Encodes anything, until the twentieth request, which it answers as its server says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked += 1  # type: ignore[attr-defined]  # set below
        if self.server.asked < 20:  # type: ignore[attr-defined]
            self._answer(200, b"latent")
        elif self.server.harm == "500":  # type: ignore[attr-defined]
            self._answer(500, b"broken")
        else:
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(params=["500", "torn"])
def failing(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    server.asked, server.harm = 0, request.param  # type: ignore[attr-defined]  # for the handler
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", request.param
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_fails_is_seen_with_the_input(failing: tuple[str, str]) -> None:
    url, harm = failing
    told = attack(url, seed=0, count=50, timeout_s=10.0)
    assert told.found is not None
    given, what = told.found
    assert given.index == 7  # twelve requests made the latents before
    assert ("answered 500" if harm == "500" else "gave no answer") in what
