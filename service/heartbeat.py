"""How late the event loop runs: a loop that is busy with other things answers nobody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from service.errors import WorkerSilent

if TYPE_CHECKING:
    from service.engine.engine import Engine

EVERY_S = 0.25
KEPT = 40  # ten seconds of them


class Heartbeat:
    """Wakes four times a second and sees by how much it overslept."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=KEPT)
        self._slept_at: float | None = None

    @property
    def lag_s(self) -> float:
        """The most that the loop was late in the last ten seconds, the sleep that is still going on included."""
        now = 0.0 if self._slept_at is None else time.monotonic() - self._slept_at - EVERY_S
        return max(0.0, now, *self._late)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._slept_at = time.monotonic()
            await asyncio.sleep(EVERY_S)
            self._late.append(time.monotonic() - self._slept_at - EVERY_S)


def check_worker(engine: Engine, timeout_s: float) -> None:
    """WorkerSilent if a worker that was ready shows no sign of life; one that loads, or is being restarted, may."""
    age_s = engine.pulse_age_s
    if age_s is not None and age_s > timeout_s:
        raise WorkerSilent(
            f"the worker has shown no sign of life for {age_s:.0f} s: the server should be restarted",
            details={"retry_after_s": 10},
        )
