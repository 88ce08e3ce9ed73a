"""What surrounds every request: its id, its time, its line in the log, its count, its trace. Pure ASGI.

``Access`` is the outermost layer, so that answers of every kind (errors, unknown addresses, refusals) carry
``x-request-id`` and ``server-timing``. What the routes learn on the way (who asks, which model, what it costs) they
write into the request's ``Record``.
"""

from __future__ import annotations

import contextvars
import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from service.errors import InternalError
from service.keys import Caller
from service.logs import request_id_now
from service.rate_limits import address_group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.draining import Drain
    from service.engine.messages import Answer, Job
    from service.metrics import Metrics
    from service.tracing import Tracing

logger = logging.getLogger("service.access")
defects = logging.getLogger("service.app")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; logs and metrics do
UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Run:
    """One job that the worker answered: wall clock at its end in ns, milliseconds by stage, its pass."""

    ended_ns: int
    timings_ms: dict[str, float]
    batch_size: int = 1
    bucket: int | None = None

    @classmethod
    def of(cls, answer: Answer) -> Run:
        """Of an answer that came just now."""
        return cls(time.time_ns(), dict(answer.timings_ms), answer.batch_size, answer.bucket)


@dataclass(slots=True)
class Record:
    """What is known of a request by the time it is answered.

    Attributes:
        request_id: of the header ``x-request-id``, or fresh.
        began: ``time.perf_counter()``.
        address: where it came from, as rates group it.
        op: name of the route, from a fixed set.
        caller: who asks.
        model: a name in the registry.
        pixels: cost of its jobs.
        error: code of the error told, if any.
        headers: that the answer carries besides its own.
        runs: jobs that the worker answered.
        status: HTTP status.
        received_bytes, sent_bytes: of both bodies.
        answered: nothing more can be added.
    """

    request_id: str
    began: float
    address: str = ""
    op: str = "other"
    caller: Caller = field(default_factory=Caller)
    model: str = ""
    pixels: int = 0
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    status: int = CLIENT_CLOSED_REQUEST
    received_bytes: int = 0
    sent_bytes: int = 0
    answered: bool = False

    def asked(self, job: Job) -> None:
        """A job goes to the engine."""
        self.model = job.model
        self.pixels += job.cost


# Of the request that runs; what it starts in tasks and threads sees it too.
record_now: contextvars.ContextVar[Record | None] = contextvars.ContextVar("record", default=None)


def record_of(request: Request) -> Record:
    """The record of this request."""
    return _record(request.scope)


def _record(scope: MutableMapping[str, Any]) -> Record:
    state = scope.setdefault("state", {})
    if "record" not in state:
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        client = scope.get("client")
        address = address_group(client[0]) if client else ""
        state["record"] = Record(request_id, time.perf_counter(), address)
        state["request_id"] = request_id
    record = state["record"]
    assert isinstance(record, Record)
    return record


class Access:
    """The outermost layer of the application.

    Args:
        app: what is inside.
        metrics: what counts.
        drain: what waits for the last request.
        tracing: what traces; None for no traces.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, drain: Drain, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._drain = drain
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = _record(scope)
        tokens = request_id_now.set(record.request_id), record_now.set(record)
        span = self._tracing.begin(scope) if self._tracing else None
        self._metrics.began()
        self._drain.enter()
        try:
            await self._app(scope, _counting(receive, record), _telling(send, record))
        finally:
            record.op, record.answered = op_of(scope), True
            seconds = time.perf_counter() - record.began
            self._drain.leave()
            self._metrics.answered(
                record.op,
                model=record.model,
                status=record.status,
                seconds=seconds,
                pixels=record.pixels,
                received_bytes=record.received_bytes,
                sent_bytes=record.sent_bytes,
            )
            for run in record.runs:
                self._metrics.staged(record.op, run.timings_ms, run.batch_size, run.bucket)
            if self._tracing and span is not None:
                self._tracing.end(span, scope["method"], record)
            _log(scope, record, seconds)
            request_id_now.reset(tokens[0])
            record_now.reset(tokens[1])


def op_of(scope: Scope) -> str:
    """The route's path without ``/v1/`` and leading slash; ``page`` for the playground, ``other`` for no route."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return "other"
    if path in ("/", "/{name}"):
        return "page"
    return path.removeprefix("/v1").removeprefix("/")


def _counting(receive: Receive, record: Record) -> Receive:
    async def counted() -> Message:
        message = await receive()
        record.received_bytes += len(message.get("body", b""))
        return message

    return counted


def _telling(send: Send, record: Record) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in record.headers.items():
                headers[name] = value
            headers["x-request-id"] = record.request_id
            spent = f"total;dur={1000 * (time.perf_counter() - record.began):.2f}"
            stages = headers.get("server-timing")
            headers["server-timing"] = f"{stages}, {spent}" if stages else spent
        elif message["type"] == "http.response.body":
            record.sent_bytes += len(message.get("body", b""))
        await send(message)

    return told


def _log(scope: Scope, record: Record, seconds: float) -> None:
    """One line; the query, the headers and the bodies are never in it, and the path holds no line breaks."""
    quiet = record.op.startswith("health/") or record.op == "metrics"
    expected = record.status < 500 or record.op == "health/ready"
    level = logging.DEBUG if quiet and expected else logging.INFO
    if not logger.isEnabledFor(level):
        return
    path = UNPRINTABLE.sub("?", scope["path"][:128])
    facts: dict[str, object] = {
        "method": scope["method"],
        "path": path,
        "op": record.op,
        "status": record.status,
        "seconds": round(seconds, 6),
        "key": record.caller.name,
        "model": record.model,
        "pixels": record.pixels,
        "received_bytes": record.received_bytes,
        "sent_bytes": record.sent_bytes,
        "error": record.error,
    }
    shown = " ".join(f"{name}={facts[name]}" for name in ("model", "pixels", "key", "error") if facts[name])
    logger.log(
        level,
        "%s %s %d %.1f ms%s",
        scope["method"],
        path,
        record.status,
        1000 * seconds,
        f" {shown}" if shown else "",
        extra={"facts": facts},
    )


class Defects:
    """Answers what nothing inside has answered: a defect is told by its incident alone, the log has the trace.

    Inside of ``Access``, so that this answer is one like all others. An answer that has begun cannot be taken
    back; the exception goes on, and the server closes the connection.

    Args:
        app: what is inside.
        answer: makes the answer of an error, as the application does.
    """

    def __init__(self, app: ASGIApp, *, answer: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            incident = uuid.uuid4().hex[:12]
            where = UNPRINTABLE.sub("?", scope["path"][:128])
            defects.error("incident %s in %s %s", incident, scope["method"], where, exc_info=error)
            told = InternalError(
                f"the server failed on this request; its log has the reason under incident {incident}",
                details={"incident": incident},
            )
            response = await self._answer(Request(scope), told)
            await response(scope, receive, send)
