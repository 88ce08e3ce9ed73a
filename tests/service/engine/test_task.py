"""A task knows its times and whether anybody still waits."""

import time
from typing import Any

import pytest

from service.engine.messages import Job
from service.engine.task import Task

NOTHING: Any = None


def task(**changes: Any) -> Task:
    return Task(Job(id=1, model="tiny", cost=1, submitted_at=100.0, **changes), NOTHING)


def test_what_no_stage_spent_was_waiting() -> None:
    work = task()
    stages = ("before", "core", "after")
    for index, stage in enumerate(stages):
        work.marks |= {f"{stage}_start": 101.0 + index, f"{stage}_end": 101.5 + index}
    timings = work.timings_ms()
    assert timings == pytest.approx({"queue": 2000.0, "before": 500.0, "core": 500.0, "after": 500.0})


def test_gone_is_cancelled_or_late() -> None:
    assert not task().gone
    assert not task(deadline=time.monotonic() + 100).gone
    assert task(deadline=time.monotonic() - 1).gone
    work = task()
    work.cancelled = True
    assert work.gone
