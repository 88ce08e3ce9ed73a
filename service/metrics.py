"""What the server counts and measures, for Prometheus: base units, one registry a service. Imports no torch.

Counters and histograms are told by those who know (``answered``, ``staged``, ``refused`` ...); gauges are read
when somebody scrapes (``watch``), so they cost nothing in between. Labels hold names of routes, models, stages
and error codes only, never anything that a request made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# From a health check to a long generation; a factor of about two where most requests fall.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
FILLS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)

# What ``watch`` takes: label values -> the value now.
Reading = Callable[[], Mapping[tuple[str, ...], float]]


class Metrics:
    """The counters, histograms and gauges of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "tessera_requests", "HTTP requests answered.", ("op", "model", "code"), registry=registry
        )
        self._seconds = Histogram(
            "tessera_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("op",),
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "tessera_stage_seconds",
            "What answered requests spent in each stage: queue, before, core, after.",
            ("op", "stage"),
            buckets=SECONDS,
            registry=registry,
        )
        self._pixels = Counter(
            "tessera_pixels", "Work of answered requests, in pixels.", ("op", "model"), registry=registry
        )
        self._received = Counter("tessera_received_bytes", "Bodies received.", ("op",), registry=registry)
        self._sent = Counter("tessera_sent_bytes", "Bodies sent.", ("op",), registry=registry)
        self._in_flight = Gauge(
            "tessera_requests_in_flight", "HTTP requests in the house.", registry=registry
        )
        self._batches = Histogram(
            "tessera_batch_size",
            "Requests in the network pass, seen once a request.",
            ("op",),
            buckets=BATCHES,
            registry=registry,
        )
        self._fills = Histogram(
            "tessera_batch_fill_ratio",
            "Part of its padded batch that was used, seen once a request.",
            ("op",),
            buckets=FILLS,
            registry=registry,
        )
        self._count_events(registry)
        self._describe_models(registry)

    def _count_events(self, registry: CollectorRegistry) -> None:
        self._rejected = Counter(
            "tessera_rejected",
            "Requests refused without being run, by the code told.",
            ("reason",),
            registry=registry,
        )
        self._cancelled = Counter(
            "tessera_cancelled",
            "Jobs that nobody waited for any more, by where that found them: waiting, running.",
            ("phase",),
            registry=registry,
        )
        self._memory_events = Counter(
            "tessera_oom", "Times that the device had not enough memory.", registry=registry
        )
        self._deaths = Counter("tessera_worker_deaths", "Ends of the worker process.", registry=registry)
        self._previews = Counter(
            "tessera_previews_dropped", "Previews not sent, as the client was slow.", registry=registry
        )

    def _describe_models(self, registry: CollectorRegistry) -> None:
        self._warm_up = Gauge(
            "tessera_warmup_seconds", "Loading and warming up.", ("kind", "model"), registry=registry
        )
        self._loaded = Gauge(
            "tessera_model_loaded", "1 for a model in memory.", ("kind", "model"), registry=registry
        )
        self._model_bytes = Gauge(
            "tessera_model_memory_bytes",
            "Memory of a model's weights on the device.",
            ("kind", "model"),
            registry=registry,
        )

    # What the HTTP layer tells

    def began(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def answered(
        self,
        op: str,
        *,
        model: str = "",
        status: int,
        seconds: float,
        pixels: int = 0,
        received_bytes: int = 0,
        sent_bytes: int = 0,
    ) -> None:
        """A request that ``began`` has been answered, or its client is gone (status 499).

        Args:
            op: name of the route, ``encode``; ``other`` where there is none.
            model: name in the registry, once it is known to be one.
            status: HTTP status.
            seconds: from the first byte to the last.
            pixels: cost of its jobs.
            received_bytes, sent_bytes: of both bodies.
        """
        self._in_flight.dec()
        self._requests.labels(op, model, str(status)).inc()
        self._seconds.labels(op).observe(seconds)
        self._received.labels(op).inc(received_bytes)
        self._sent.labels(op).inc(sent_bytes)
        if pixels:
            self._pixels.labels(op, model).inc(pixels)

    def staged(self, op: str, timings_ms: Mapping[str, float], batch_size: int, bucket: int | None) -> None:
        """The worker has answered a job.

        Args:
            op: name of the route.
            timings_ms: by stage.
            batch_size: jobs in its pass.
            bucket: what the pass was padded to, if it was.
        """
        for stage, spent in timings_ms.items():
            self._stages.labels(op, stage).observe(spent / 1000)
        self._batches.labels(op).observe(batch_size)
        if bucket:
            self._fills.labels(op).observe(min(1.0, batch_size / bucket))

    def refused(self, reason: str) -> None:
        """A request was refused without being run: no key, full, over a rate, not ready, draining."""
        self._rejected.labels(reason).inc()

    def preview_dropped(self) -> None:
        """A preview was not sent, as its client had not read the one before."""
        self._previews.inc()

    # What the engine tells

    def cancelled(self, phase: str) -> None:
        """Nobody waits for a job any more; ``waiting`` (it never runs) or ``running``."""
        self._cancelled.labels(phase).inc()

    def out_of_memory(self) -> None:
        """The device had not enough memory; what happened next is another matter."""
        self._memory_events.inc()

    def worker_died(self) -> None:
        """The worker process has ended and was not asked to."""
        self._deaths.inc()

    def model_loaded(self, kind: str, name: str, *, memory_bytes: int, seconds: float) -> None:
        """A model is in memory and warm."""
        self._loaded.labels(kind, name).set(1)
        self._model_bytes.labels(kind, name).set(memory_bytes)
        self._warm_up.labels(kind, name).set(seconds)

    def model_unloaded(self, kind: str, name: str) -> None:
        """A model has left the memory."""
        self._loaded.labels(kind, name).set(0)
        self._model_bytes.labels(kind, name).set(0)

    # Gauges that are read at the scrape

    def watch(self, name: str, text: str, labels: tuple[str, ...], read: Reading) -> None:
        """Show what ``read`` gives at every scrape as the gauge ``tessera_{name}``.

        Args:
            name: with its unit: ``queue_pixels``, ``device_memory_bytes``.
            text: one sentence.
            labels: names of the labels, in the order of the keys that ``read`` gives.
            read: called in the thread of the scrape; quick, and never raises.
        """
        self.registry.register(_Watched(f"tessera_{name}", text, labels, read))

    def watch_process(self, name: str, pid: Callable[[], int | None]) -> None:
        """Show memory and processor time of another process as ``tessera_{name}_process_*``."""
        ProcessCollector(f"tessera_{name}", pid=lambda: pid() or "none", registry=self.registry)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Watched(Collector):
    """One gauge, asked at the scrape."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], read: Reading) -> None:
        self._name, self._text, self._labels, self._read = name, text, labels, read

    def collect(self) -> Iterable[Metric]:
        """The gauge now."""
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for values, number in self._read().items():
            family.add_metric(values, number)
        yield family
