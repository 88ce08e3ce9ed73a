"""Jobs are paid for by key and address; what the engine refuses is given back; the record learns what ran."""

import asyncio
from typing import Any

import pytest

from service.access import Record, record_now
from service.engine.engine import Engine
from service.engine.messages import Answer, EncodeJob, GenerateJob
from service.errors import InvalidParameter, NotReady, QueueFull, RateLimited, WorkerDied
from service.keys import Caller
from service.metering import Meter, MeteredEngine
from service.metrics import Metrics
from service.rate_limits import RateLimits
from service.settings import Settings
from tests.service.test_metrics import value

JOB = EncodeJob(id=1, model="tiny", cost=600, submitted_at=0.0, body=b"", format="npy", view="rgb")
ANSWER = Answer(1, b"", "application/x-npy", batch_size=2, timings_ms={"queue": 1.0, "core": 2.0}, bucket=4)


class Bench:
    """A metered engine whose own engine is replaced by an outcome."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
        self.outcome: Answer | Exception = ANSWER
        self.submitted: list[Any] = []

        async def submit(_: Engine, job: Any, *, on_progress: Any = None) -> Answer:
            self.submitted.append(job)
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

        monkeypatch.setattr(Engine, "submit", submit)
        self.metrics = Metrics()
        chosen = Settings.model_validate(settings)
        self.rates = RateLimits(clock=lambda: 0.0)
        meter = Meter(chosen, self.rates)
        self.engine = MeteredEngine(chosen, None, print, self.metrics, meter)  # type: ignore[arg-type]  # no worker

    def submit(self, record: Record | None, job: Any = JOB) -> Answer:
        async def course() -> Answer:
            record_now.set(record)
            return await self.engine.submit(job)

        return asyncio.run(course())

    def left(self, who: str, per_minute: int = 1000) -> int:
        return self.rates.peek(who, "pixels", per_minute).remaining


def asks(**limits: Any) -> Record:
    return Record("a", 0.0, address="10.0.0.7", caller=Caller("lab", **limits))


def test_a_job_costs_its_pixels_and_the_record_learns_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    record = asks(pixels_per_minute=1000)
    assert bench.submit(record) is ANSWER
    assert (record.model, record.pixels) == ("tiny", 600)
    assert record.headers["x-ratelimit-remaining-pixels"] == "400"
    (run,) = record.runs
    assert (run.timings_ms, run.batch_size, run.bucket) == ({"queue": 1.0, "core": 2.0}, 2, 4)


def test_over_the_rate_nothing_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    record = asks(pixels_per_minute=1000)
    bench.submit(record)
    with pytest.raises(RateLimited) as refused:
        bench.submit(record)
    assert len(bench.submitted) == 1
    assert refused.value.details["retry_after_s"] == pytest.approx(12.0, abs=0.01)
    assert record.headers["x-ratelimit-remaining-pixels"] == "400"


@pytest.mark.parametrize("refusal", [QueueFull("full"), NotReady("loading")])
def test_what_the_engine_refuses_is_given_back(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    bench = Bench(monkeypatch, address_pixels_per_minute=1000)
    bench.outcome = refusal
    with pytest.raises(type(refusal)):
        bench.submit(asks(pixels_per_minute=1000))
    assert bench.left("key:lab") == bench.left("address:10.0.0.7") == 1000


def test_work_that_was_begun_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.outcome = WorkerDied("gone")
    with pytest.raises(WorkerDied):
        bench.submit(asks(pixels_per_minute=1000))
    assert bench.left("key:lab") == 400


def test_a_key_that_is_over_its_rate_leaves_the_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, address_pixels_per_minute=5000)
    record = asks(pixels_per_minute=1000)
    bench.submit(record)
    with pytest.raises(RateLimited, match="this key"):
        bench.submit(record)
    assert bench.left("address:10.0.0.7", 5000) == 4400


def test_the_tighter_of_two_rates_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, address_pixels_per_minute=700)
    record = asks(pixels_per_minute=10_000)
    bench.submit(record)
    assert record.headers["x-ratelimit-limit-pixels"] == "700"
    assert record.headers["x-ratelimit-remaining-pixels"] == "100"
    other = asks(pixels_per_minute=10_000)
    with pytest.raises(RateLimited, match="this address"):
        bench.submit(other)


def test_without_rates_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    record = asks()
    bench.submit(record)
    assert record.headers == {}
    assert len(bench.rates) == 0


def test_a_key_may_be_held_to_fewer_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    job = GenerateJob(
        id=2,
        model="shapes",
        cost=1,
        submitted_at=0.0,
        label=0,
        num_images=5,
        num_steps=1,
        guidance=1.0,
        seed=0,
        size=(32, 32),
        output="png",
    )
    with pytest.raises(InvalidParameter, match="5 pictures"):
        bench.submit(asks(max_images=4), job)
    bench.submit(asks(max_images=5), job)
    assert len(bench.submitted) == 1


@pytest.mark.parametrize("answered", [None, True])
def test_jobs_of_no_request_pay_nothing_and_are_counted(
    monkeypatch: pytest.MonkeyPatch, answered: bool | None
) -> None:
    """Of the store's runner, which may have been started by a request that is long answered."""
    bench = Bench(monkeypatch)
    record = asks(pixels_per_minute=1) if answered else None
    if record is not None:
        record.answered = True
    bench.submit(record)
    bench.submit(record)
    assert value(bench.metrics, "tessera_stage_seconds_count", op="job", stage="core") == 2
    assert record is None or record.runs == []


def test_requests_are_charged_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(address_requests_per_minute=2)
    meter = Meter(settings, RateLimits(clock=lambda: 0.0))
    record = asks(requests_per_minute=1)
    meter.charge_address(record, "requests", 1)
    meter.charge_key(record, "requests", 1)
    assert record.headers["x-ratelimit-limit-requests"] == "1"
    meter.charge_address(record, "requests", 1)
    with pytest.raises(RateLimited, match="this key"):
        meter.charge_key(record, "requests", 1)
    with pytest.raises(RateLimited, match="this address"):
        meter.charge_address(record, "requests", 1)
