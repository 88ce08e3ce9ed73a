"""Metrics: what is told is what is shown, in base units, and gauges are read at the scrape."""

import os

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.metrics import SECONDS, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the exposition by name and labels."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            assert isinstance(sample, Sample)
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample."""
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_requests_count_by_op_model_and_code() -> None:
    metrics = Metrics()
    for seconds in (0.02, 0.3, 0.3):
        metrics.began()
        metrics.answered(
            "encode",
            model="tiny",
            status=200,
            seconds=seconds,
            pixels=1024,
            received_bytes=10,
            sent_bytes=20,
        )
    metrics.began()
    metrics.answered("encode", status=413, seconds=0.001)
    assert value(metrics, "tessera_requests_total", op="encode", model="tiny", code="200") == 3
    assert value(metrics, "tessera_requests_total", op="encode", model="", code="413") == 1
    assert value(metrics, "tessera_pixels_total", op="encode", model="tiny") == 3 * 1024
    assert value(metrics, "tessera_received_bytes_total", op="encode") == 30
    assert value(metrics, "tessera_sent_bytes_total", op="encode") == 60
    assert value(metrics, "tessera_request_seconds_count", op="encode") == 4
    assert abs(value(metrics, "tessera_request_seconds_sum", op="encode") - 0.621) < 1e-9
    assert value(metrics, "tessera_request_seconds_bucket", op="encode", le="0.025") == 2
    assert value(metrics, "tessera_request_seconds_bucket", op="encode", le="+Inf") == 4


def test_in_flight_is_what_began_and_was_not_answered() -> None:
    metrics = Metrics()
    metrics.began()
    metrics.began()
    assert value(metrics, "tessera_requests_in_flight") == 2
    metrics.answered("models", status=200, seconds=0.1)
    assert value(metrics, "tessera_requests_in_flight") == 1


def test_stages_are_seconds_and_fill_is_what_the_bucket_held() -> None:
    metrics = Metrics()
    metrics.staged("decode", {"queue": 500.0, "core": 20.0}, batch_size=3, bucket=4)
    metrics.staged("decode", {"queue": 1500.0, "core": 20.0}, batch_size=1, bucket=None)
    assert value(metrics, "tessera_stage_seconds_sum", op="decode", stage="queue") == 2.0
    assert value(metrics, "tessera_stage_seconds_count", op="decode", stage="core") == 2
    assert value(metrics, "tessera_batch_size_sum", op="decode") == 4
    assert value(metrics, "tessera_batch_fill_ratio_sum", op="decode") == 0.75
    assert value(metrics, "tessera_batch_fill_ratio_count", op="decode") == 1


def test_events_count() -> None:
    metrics = Metrics()
    metrics.refused("queue_full")
    metrics.refused("rate_limited")
    metrics.refused("queue_full")
    metrics.cancelled("waiting")
    metrics.out_of_memory()
    metrics.worker_died()
    metrics.preview_dropped()
    assert value(metrics, "tessera_rejected_total", reason="queue_full") == 2
    assert value(metrics, "tessera_rejected_total", reason="rate_limited") == 1
    assert value(metrics, "tessera_cancelled_total", phase="waiting") == 1
    for name in ("oom", "worker_deaths", "previews_dropped"):
        assert value(metrics, f"tessera_{name}_total") == 1


def test_models_come_and_go() -> None:
    metrics = Metrics()
    metrics.model_loaded("tokenizer", "tiny", memory_bytes=4096, seconds=1.5)
    assert value(metrics, "tessera_model_loaded", kind="tokenizer", model="tiny") == 1
    assert value(metrics, "tessera_model_memory_bytes", kind="tokenizer", model="tiny") == 4096
    assert value(metrics, "tessera_warmup_seconds", kind="tokenizer", model="tiny") == 1.5
    metrics.model_unloaded("tokenizer", "tiny")
    assert value(metrics, "tessera_model_loaded", kind="tokenizer", model="tiny") == 0
    assert value(metrics, "tessera_model_memory_bytes", kind="tokenizer", model="tiny") == 0


def test_watched_gauges_are_read_at_every_scrape() -> None:
    metrics = Metrics()
    waiting = {("encode",): 1.0}
    metrics.watch("queue_depth", "Jobs that wait.", ("op",), lambda: waiting)
    assert value(metrics, "tessera_queue_depth", op="encode") == 1
    waiting[("decode",)] = 5.0
    assert value(metrics, "tessera_queue_depth", op="decode") == 5


def test_processes_show_their_memory() -> None:
    metrics = Metrics()
    here: list[int | None] = [os.getpid()]
    metrics.watch_process("worker", lambda: here[0])
    assert value(metrics, "tessera_worker_process_resident_memory_bytes") > 2**20
    assert value(metrics, "process_resident_memory_bytes") > 2**20
    here[0] = None  # between the end of a worker and the start of the next
    assert ("tessera_worker_process_resident_memory_bytes", ()) not in samples(metrics)


def test_names_have_base_units() -> None:
    """Seconds and bytes, counters end in _total; never milliseconds or megabytes."""
    metrics = Metrics()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        assert not family.name.endswith(("_ms", "_mb", "_s", "_percent")), family.name
        if family.type == "histogram" and "seconds" in family.name:
            assert family.name.endswith("_seconds")
    assert list(SECONDS) == sorted(SECONDS)
