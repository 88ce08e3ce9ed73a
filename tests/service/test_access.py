"""The outermost layer: ids, times, counts and one line in the log for answers of every kind, and no secrets."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from service.access import Access, Defects, record_of
from service.draining import Drain
from service.errors import ServiceError
from service.logs import request_id_now
from service.metrics import Metrics
from tests.service.test_metrics import value

Bench = Callable[..., httpx.Response]


async def echo(request: Request) -> Response:
    record = record_of(request)
    record.model, record.pixels = "tiny", 64
    record.headers["x-ratelimit-remaining-requests"] = "3"
    body = await request.body()
    return PlainTextResponse(
        f"{request_id_now.get()} {len(body)}", headers={"server-timing": "queue;dur=1.00"}
    )


async def broken(_: Request) -> Response:
    raise KeyError("/secret/path")


async def torn(_: Request) -> Response:
    async def pieces() -> Any:
        yield b"begun"
        raise KeyError("too late")

    return StreamingResponse(pieces())


async def told(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    record_of(request).error = error.code
    return JSONResponse(error.to_json(), error.status)


class Layers:
    """A small application inside of the layers."""

    def __init__(self) -> None:
        self.metrics, self.drain = Metrics(), Drain()
        routes = [
            Route("/v1/echo", echo, methods=["POST"]),
            Route("/v1/broken", broken),
            Route("/v1/torn", torn),
        ]
        inside: ASGIApp = Defects(Router(routes=routes), answer=told)
        self.app = Access(inside, metrics=self.metrics, drain=self.drain)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def course() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(course())


@pytest.fixture
def layers() -> Layers:
    return Layers()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/echo", 200),
        ("GET", "/v1/echo", 405),
        ("GET", "/gone", 404),
        ("GET", "/v1/broken", 500),
    ],
)
def test_every_answer_has_an_id_and_a_time(layers: Layers, method: str, path: str, status: int) -> None:
    answer = layers.ask(method, path)
    assert answer.status_code == status
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert re.search(r"(^|, )total;dur=\d+\.\d\d$", answer.headers["server-timing"])


def test_the_id_that_was_sent_comes_back_and_is_known_inside(layers: Layers) -> None:
    answer = layers.ask("POST", "/v1/echo", headers={"x-request-id": "report-7.a_B"}, content=b"12345")
    assert answer.text == "report-7.a_B 5"
    assert answer.headers["x-request-id"] == "report-7.a_B"
    assert answer.headers["server-timing"].startswith("queue;dur=1.00, total;dur=")
    assert answer.headers["x-ratelimit-remaining-requests"] == "3"
    assert request_id_now.get() == ""


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "a/b", "\u00e9", "a,b"])
def test_an_id_that_could_harm_is_replaced(layers: Layers, sent: str) -> None:
    answer = layers.ask("POST", "/v1/echo", headers={"x-request-id": sent.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_what_was_sent_is_what_is_counted(layers: Layers) -> None:
    for size in (5, 7):
        layers.ask("POST", "/v1/echo", content=b"x" * size)
    layers.ask("GET", "/gone")
    layers.ask("GET", "/v1/broken")
    metrics = layers.metrics
    assert value(metrics, "tessera_requests_total", op="echo", model="tiny", code="200") == 2
    assert value(metrics, "tessera_requests_total", op="other", model="", code="404") == 1
    assert value(metrics, "tessera_requests_total", op="broken", model="", code="500") == 1
    assert value(metrics, "tessera_received_bytes_total", op="echo") == 12
    assert value(metrics, "tessera_pixels_total", op="echo", model="tiny") == 128
    assert value(metrics, "tessera_requests_in_flight") == 0
    assert layers.drain.in_house == 0


def test_a_defect_is_told_by_incident_alone(layers: Layers, caplog: pytest.LogCaptureFixture) -> None:
    answer = layers.ask("GET", "/v1/broken")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert error["incident"] in caplog.text
    assert "KeyError" in caplog.text


def test_an_answer_that_has_begun_is_torn_off_and_still_counted(layers: Layers) -> None:
    with pytest.raises(KeyError):
        layers.ask("GET", "/v1/torn")
    assert value(layers.metrics, "tessera_requests_in_flight") == 0
    assert layers.drain.in_house == 0


def test_one_line_a_request_and_no_secrets(layers: Layers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.access")
    secret = "tessera-key-that-nobody-may-read"
    layers.ask(
        "POST",
        f"/v1/echo?key={secret}",
        headers={"authorization": f"Bearer {secret}", "cookie": secret, "x-request-id": "report-7"},
        content=secret.encode(),
    )
    (line,) = [record for record in caplog.records if record.name == "service.access"]
    assert re.fullmatch(r"POST /v1/echo 200 \d+\.\d ms model=tiny pixels=64", line.getMessage())
    facts = line.facts  # type: ignore[attr-defined]  # access.py puts it there
    assert {facts[name] for name in ("method", "op", "status", "model", "pixels")} == {
        "POST",
        "echo",
        200,
        "tiny",
        64,
    }
    assert secret not in json.dumps(facts)
    assert secret not in caplog.text


def test_a_path_cannot_forge_a_line(layers: Layers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.access")
    layers.ask("GET", "/x%0aERROR: all is lost%1b[31m")
    (line,) = [record for record in caplog.records if record.name == "service.access"]
    assert line.getMessage().startswith("GET /x?ERROR: all is lost?[31m 404 ")


def test_other_scopes_pass_untouched() -> None:
    seen: list[str] = []

    async def inside(scope: Any, _: Any, __: Any) -> None:
        seen.append(scope["type"])

    access = Access(inside, metrics=Metrics(), drain=Drain())
    asyncio.run(access({"type": "lifespan"}, None, None))  # type: ignore[arg-type]  # neither is called
    assert seen == ["lifespan"]


def test_a_record_is_one_a_request() -> None:
    scope: dict[str, Any] = {"type": "http", "headers": Headers({"x-request-id": "a"}).raw, "client": None}
    assert record_of(Request(scope)) is record_of(Request(scope))
    assert record_of(Request(scope)).request_id == Request(scope).state.request_id == "a"
