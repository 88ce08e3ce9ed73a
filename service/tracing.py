"""Traces by OpenTelemetry, where the extra ``otel`` is installed and ``TESSERA_OTEL_ENDPOINT`` is set.

One span a request, joined to the caller's trace by ``traceparent``, and below it one a stage: queue, before, core,
after. The stages are those of ``server-timing``, laid end to end up to the answer: waiting between two of them is
counted, and drawn, as queue.

Source: OpenTelemetry specification, semantic conventions of HTTP server spans; W3C Trace Context.
"""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span
    from starlette.types import Scope

    from service.access import Record, Run

STAGES = ("queue", "before", "core", "after")


class Tracing:
    """Makes spans.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("tessera")
        self._incoming = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> Tracing | None:
        """Traces to an OTLP/HTTP address, sent in the background; None for no address.

        Raises:
            ValueError: the extra is not installed.
        """
        if not endpoint:
            return None
        if importlib.util.find_spec("opentelemetry.exporter") is None:
            raise ValueError(
                "TESSERA_OTEL_ENDPOINT is set, but OpenTelemetry is not installed: pip install '.[otel]', or unset it"
            )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=Resource.create({"service.name": "tessera"}))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def begin(self, scope: Scope) -> Span:
        """The span of a request, below the caller's own if it sent one."""
        from opentelemetry.trace import SpanKind

        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        return self._tracer.start_span(
            str(scope["method"]),
            context=self._incoming.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=time.time_ns(),
        )

    def end(self, span: Span, method: str, record: Record) -> None:
        """The request has been answered: name the span, draw the stages, close it."""
        from opentelemetry.trace import StatusCode, set_span_in_context

        ended = time.time_ns()
        span.update_name(f"{method} {record.op}")
        span.set_attributes(_attributes(method, record))
        if record.status >= 500:
            span.set_status(StatusCode.ERROR, record.error)
        parent = set_span_in_context(span)
        for run in record.runs:
            for name, (start, end) in laid_out(run).items():
                self._tracer.start_span(name, context=parent, start_time=start).end(end)
        span.end(ended)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def laid_out(run: Run) -> dict[str, tuple[int, int]]:
    """Start and end of every stage in ns, end to end up to the moment of the answer."""
    spent: Mapping[str, int] = {name: round(run.timings_ms.get(name, 0.0) * 1e6) for name in STAGES}
    at = run.ended_ns - sum(spent.values())
    found = {}
    for name in STAGES:
        found[name] = (at, at + spent[name])
        at += spent[name]
    return found


def _attributes(method: str, record: Record) -> dict[str, Any]:  # the types that a span takes
    found: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": record.op,
        "http.response.status_code": record.status,
        "tessera.request_id": record.request_id,
        "tessera.model": record.model,
        "tessera.pixels": record.pixels,
        "tessera.key": record.caller.name,
        "error.type": record.error,
    }
    return {name: value for name, value in found.items() if value not in ("", 0)}
