"""Requests to a server that is busy, away, or not as it should be; the server is one of the standard library."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tokenizer.adapters.remote.connection import Connection, message_of, seconds_told

Step = tuple[int, dict[str, str], bytes]
BROKEN: Step = (0, {}, b"")


class Script:
    """What the server answers, one after the other, and what it was asked."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            script.asked.append((self.command, self.path, body, dict(self.headers)))
            status, headers, reply = script.steps.pop(0)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(reply))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = answer  # noqa: N815  as the standard library calls them

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


Connect = Callable[..., tuple[Connection, Clock]]


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    made: list[Connection] = []

    def make(at: str = url, **options: Any) -> tuple[Connection, Clock]:
        clock = Clock()
        connection = Connection(at, sleep=clock.sleep, clock=clock, timeout_s=10, **options)
        made.append(connection)
        return connection, clock

    yield make
    for connection in made:
        connection.close()


def error(code: str, **more: object) -> bytes:
    return b'{"error": {"code": "%s", "message": "say what to do"}}' % code.encode()


def test_an_answer(connect: Connect, script: Script) -> None:
    connection, clock = connect(key="secret")
    script.steps = [(200, {"X-Told": "yes"}, b"body"), (200, {}, b"more")]
    reply = connection.post("/v1/a?b=c", b"sent", {"x-priority": "batch"})
    assert (reply.body, reply.headers["x-told"]) == (b"body", "yes")
    assert connection.get("/v1/models").body == b"more"
    (method, path, body, headers), (again, *_) = script.asked
    assert (method, path, body, again) == ("POST", "/v1/a?b=c", b"sent", "GET")
    assert (headers["authorization"], headers["x-priority"]) == ("Bearer secret", "batch")
    assert clock.naps == []


def test_a_path_in_front_stays(connect: Connect, url: str, script: Script) -> None:
    connection, _ = connect(f"{url}/below/")
    script.steps = [(200, {}, b"")]
    connection.get("/v1/models")
    assert script.asked[0][1] == "/below/v1/models"


def test_it_waits_as_long_as_told(connect: Connect, script: Script) -> None:
    connection, clock = connect()
    script.steps = [
        (429, {"Retry-After": "3", "retry-after-ms": "2500"}, error("queue_full")),
        (503, {"Retry-After": "7"}, error("not_ready")),
        (200, {}, b"done"),
    ]
    assert connection.post("/a", b"x", {}).body == b"done"
    assert clock.naps == [2.5, 7.0]


def test_a_broken_connection_is_made_anew(connect: Connect, script: Script) -> None:
    connection, clock = connect()
    script.steps = [(200, {}, b"one"), BROKEN, BROKEN, (503, {}, b"no json"), (200, {}, b"two")]
    assert connection.get("/a").body == b"one"
    assert connection.get("/b").body == b"two"
    assert len(clock.naps) == 3
    assert all(0.1 <= nap <= 1.5 for nap in clock.naps)


def test_patience_ends(connect: Connect, script: Script) -> None:
    connection, clock = connect(patience_s=10.0)
    script.steps = [(429, {"retry-after": "4"}, error("queue_full"))] * 9
    with pytest.raises(ValueError, match=r"no answer within 10 s \(status 429: say what to do\)"):
        connection.get("/a")
    assert clock.naps == [4.0, 4.0]


def test_nobody_there(connect: Connect) -> None:
    connection, clock = connect("http://127.0.0.1:9", patience_s=5.0)
    with pytest.raises(ValueError, match="ConnectionRefused"):
        connection.get("/v1/models")
    assert clock.now <= 5.0


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 507])
def test_refusals_are_told_in_the_servers_words(connect: Connect, script: Script, status: int) -> None:
    connection, clock = connect()
    script.steps = [(status, {}, error("code"))]
    with pytest.raises(ValueError, match=f"answered status {status}: say what to do"):
        connection.get("/a")
    assert clock.naps == []


@pytest.mark.parametrize("url", ["ftp://a", "http://", "127.0.0.1:8000", "http://#model"])
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port#model"):
        Connection(url)


def test_a_key_does_not_stand_in_an_address() -> None:
    with pytest.raises(ValueError, match="TESSERA_API_KEY") as caught:
        Connection("http://:secret@host:8000")
    assert "secret" not in str(caught.value)


def test_the_key_comes_from_the_environment(
    connect: Connect, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_API_KEY", "from outside")
    connection, _ = connect()
    script.steps = [(200, {}, b"")]
    connection.get("/a")
    assert script.asked[0][3]["authorization"] == "Bearer from outside"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
        ({"retry-after": "later"}, None),
        ({}, None),
    ],
)
def test_what_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_told(headers, now=1_445_412_470.0) == seconds


def test_messages() -> None:
    assert message_of(b'{"error": {"message": "m"}}') == "m"
    assert message_of(b"<html>") == "<html>"
    assert message_of(b"[1]") == "[1]"
