"""What requests and jobs cost: every job that goes to the engine is paid from the rates of key and address.

The engine knows nothing of HTTP; which request a job belongs to is told by the context it is submitted in
(``access.record_now``). Jobs outside of any request, those of the store, pay nothing: their request has paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.access import Run, record_now
from service.engine.engine import Engine
from service.errors import NotReady, QueueFull, RateLimited
from service.rate_limits import Kind, RateLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.access import Record
    from service.engine.messages import Answer, Job, Progress, WorkerSettings
    from service.metrics import Metrics
    from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket that a request draws from; ``per_minute`` 0 is no limit."""

    who: str
    per_minute: int


class Meter:
    """Charges requests and pixels to address and key, and notes what is left for the answer's headers.

    Args:
        settings: the rates of addresses; those of keys come with the caller.
        rates: the buckets.
    """

    def __init__(self, settings: Settings, rates: RateLimits) -> None:
        self._settings = settings
        self._rates = rates

    def charge_address(self, record: Record, kind: Kind, amount: int) -> None:
        """Take from the rate of the address.

        Raises:
            RateLimited: with the seconds after which it fits.
        """
        self._take(record, self._of_address(record, kind), kind, amount)

    def charge_key(self, record: Record, kind: Kind, amount: int) -> None:
        """Take from the rate of the key.

        Raises:
            RateLimited: with the seconds after which it fits.
        """
        self._take(record, self._of_key(record, kind), kind, amount)

    def charge_pixels(self, record: Record, pixels: int) -> None:
        """Take the cost of a job from both.

        Raises:
            RateLimited: then nothing is taken.
        """
        self.charge_address(record, "pixels", pixels)
        try:
            self.charge_key(record, "pixels", pixels)
        except RateLimited:
            self._give_back(self._of_address(record, "pixels"), pixels)
            raise

    def refund_pixels(self, record: Record, pixels: int) -> None:
        """Undo ``charge_pixels`` for a job that the engine did not take."""
        self._give_back(self._of_address(record, "pixels"), pixels)
        self._give_back(self._of_key(record, "pixels"), pixels)

    def _of_address(self, record: Record, kind: Kind) -> Rate:
        settings = self._settings
        limits = (settings.address_requests_per_minute, settings.address_pixels_per_minute)
        return Rate(f"address:{record.address}", limits[kind == "pixels"])

    def _of_key(self, record: Record, kind: Kind) -> Rate:
        caller = record.caller
        limits = (caller.requests_per_minute, caller.pixels_per_minute)
        return Rate(f"key:{caller.name}", limits[kind == "pixels"])

    def _take(self, record: Record, rate: Rate, kind: Kind, amount: int) -> None:
        if not rate.per_minute:
            return
        try:
            left = self._rates.take(rate.who, kind, amount, rate.per_minute)
        except RateLimited:
            record.headers |= self._rates.peek(rate.who, kind, rate.per_minute).headers()
            raise
        known = record.headers.get(f"x-ratelimit-remaining-{kind}")
        if known is None or left.remaining < int(known):  # the answer tells of the tighter of two rates
            record.headers |= left.headers()

    def _give_back(self, rate: Rate, pixels: int) -> None:
        if rate.per_minute:
            self._rates.give_back(rate.who, "pixels", pixels, rate.per_minute)


class MeteredEngine(Engine):
    """The engine, paid: whoever submits within a request pays for it, and its record learns what became of it.

    Args:
        settings, worker, on_fatal, metrics: as the engine takes them.
        meter: what charges.
    """

    def __init__(
        self,
        settings: Settings,
        worker: WorkerSettings,
        on_fatal: Callable[[str], None],
        metrics: Metrics,
        meter: Meter,
    ) -> None:
        super().__init__(settings, worker, on_fatal, metrics)
        self._meter = meter
        self._told = metrics

    async def submit(self, job: Job, *, on_progress: Callable[[Progress], None] | None = None) -> Answer:
        """As ``Engine.submit``, after paying for it.

        Raises:
            InvalidParameter: more pictures than the key may ask for.
            RateLimited, and what ``Engine.submit`` raises.
        """
        record = record_now.get()
        if record is None or record.answered:
            answer = await super().submit(job, on_progress=on_progress)
            self._told.staged("job", answer.timings_ms, answer.batch_size, answer.bucket)
            return answer
        record.caller.allow_images(getattr(job, "num_images", 1))
        self._meter.charge_pixels(record, job.cost)
        record.asked(job)
        try:
            answer = await super().submit(job, on_progress=on_progress)
        except (QueueFull, NotReady):
            self._meter.refund_pixels(record, job.cost)
            raise
        record.runs.append(Run.of(answer))
        return answer
