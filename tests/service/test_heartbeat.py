"""The loop's lateness, and the worker's silence."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import WorkerSilent
from service.heartbeat import Heartbeat, check_worker


def test_a_blocked_loop_shows_and_an_idle_one_does_not() -> None:
    async def course() -> tuple[float, float]:
        heartbeat = Heartbeat()
        assert heartbeat.lag_s == 0.0
        beating = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(0)
        time.sleep(1.0)  # what nothing on the loop may do
        during = heartbeat.lag_s
        await asyncio.sleep(0.3)
        after = heartbeat.lag_s
        beating.cancel()
        return during, after

    during, after = asyncio.run(course())
    assert during > 0.5
    assert after > 0.5


@pytest.mark.parametrize("age_s", [None, 0.0, 59.0])
def test_a_worker_that_loads_or_beats_is_alive(age_s: float | None) -> None:
    engine: Any = SimpleNamespace(pulse_age_s=age_s)
    check_worker(engine, 60.0)


def test_silence_is_told() -> None:
    engine: Any = SimpleNamespace(pulse_age_s=61.0)
    with pytest.raises(WorkerSilent, match="61 s") as told:
        check_worker(engine, 60.0)
    assert told.value.status == 503
