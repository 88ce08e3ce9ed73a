"""Traces: one span a request, its stages below it, joined to the caller's; nothing without an address."""

import time
from typing import Any

import pytest

from service.access import Record, Run
from service.tracing import STAGES, Tracing, laid_out

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402  only where it is installed
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exported: InMemorySpanExporter) -> Tracing:
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return Tracing(provider)


def trace(tracing: Tracing, record: Record, headers: list[tuple[bytes, bytes]]) -> None:
    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": headers}
    tracing.end(tracing.begin(scope), "POST", record)


def test_a_request_and_its_stages(tracing: Tracing, exported: InMemorySpanExporter) -> None:
    now = time.time_ns()
    run = Run(now, {"queue": 4.0, "before": 1.0, "core": 20.0, "after": 2.5})
    record = Record("report-7", 0.0, op="encode", model="tiny", pixels=1024, runs=[run], status=200)
    trace(tracing, record, [(b"traceparent", PARENT), (b"authorization", b"Bearer alpha")])
    *stages, request = exported.get_finished_spans()
    assert [span.name for span in stages] == list(STAGES)
    assert (request.name, request.kind) == ("POST encode", SpanKind.SERVER)
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "encode",
        "http.response.status_code": 200,
        "tessera.request_id": "report-7",
        "tessera.model": "tiny",
        "tessera.pixels": 1024,
    }
    assert "alpha" not in request.to_json()
    for span in stages:
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
    core = stages[2]
    assert core.end_time - core.start_time == 20_000_000
    assert stages[-1].end_time == now


def test_failures_are_marked(tracing: Tracing, exported: InMemorySpanExporter) -> None:
    trace(tracing, Record("a", 0.0, op="encode", status=503, error="worker_died"), [])
    trace(tracing, Record("b", 0.0, op="encode", status=415, error="not_an_image"), [])
    failed, refused = exported.get_finished_spans()
    assert failed.parent is None
    assert failed.status.status_code is StatusCode.ERROR
    assert refused.status.status_code is not StatusCode.ERROR
    assert refused.attributes["error.type"] == "not_an_image"


@pytest.mark.parametrize("sent", [b"", b"nonsense", b"00-0-0-01"])
def test_a_damaged_parent_starts_a_trace_of_its_own(
    tracing: Tracing, exported: InMemorySpanExporter, sent: bytes
) -> None:
    trace(tracing, Record("a", 0.0, status=200), [(b"traceparent", sent)])
    assert exported.get_finished_spans()[0].parent is None


def test_stages_lie_end_to_end_up_to_the_answer() -> None:
    spans = laid_out(Run(1_000_000_000, {"queue": 1.0, "core": 2.0}))
    assert spans["queue"] == (997_000_000, 998_000_000)
    assert spans["before"] == (998_000_000, 998_000_000)
    assert spans["core"] == (998_000_000, 1_000_000_000)
    assert spans["after"] == (1_000_000_000, 1_000_000_000)


def test_without_an_address_there_are_no_traces() -> None:
    assert Tracing.to("") is None


def test_an_address_without_the_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install '.\[otel\]'"):
        Tracing.to("http://127.0.0.1:4318")
