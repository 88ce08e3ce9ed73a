"""The core: batches, and what happens when memory, a request or a deadline does not hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from service.engine.batching import Prepared, ReadyJobs
from service.engine.core import Core
from service.engine.costs import Costs
from service.engine.messages import Job
from service.engine.operations.base import UNFINISHED, Pass
from service.engine.task import Task
from service.errors import TimedOut

KIND = ("encode", "tiny")


@dataclass
class Recorder:
    """What became of jobs, by id."""

    results: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, BaseException] = field(default_factory=dict)
    dropouts: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)

    def computed(self, task: Task) -> None:
        self.results[task.job.id] = task.result

    def failed(self, task: Task, error: BaseException) -> None:
        self.failures[task.job.id] = error

    def dropped(self, task: Task) -> None:
        self.dropouts.append(task.job.id)

    def advanced(self, task: Task, step: int, num_steps: int, clean: object) -> None:
        raise AssertionError("nothing here makes steps")

    def memory_short(self, rows: int) -> None:
        self.short.append(rows)


@dataclass
class Network:
    """An operation whose core gives each payload back and fails when ``fault`` says so."""

    fault: Callable[[Sequence[int], Pass], None] = lambda _, __: None
    passes: list[tuple[list[int], int, bool]] = field(default_factory=list)

    def before(self, job: Job) -> Prepared[int]:
        raise AssertionError("prepared already")

    def core(self, batch: Sequence[int], how: Pass) -> Sequence[str]:
        self.passes.append((list(batch), how.bucket, how.tiled))
        self.fault(batch, how)
        return [f"result {number}" for number in batch]

    def after(self, job: Job, payload: int, result: str) -> Any:
        raise AssertionError("not the core's")


def run(
    network: Network, count: int, *, pinned: int | None = None, **job: Any
) -> tuple[Recorder, list[Task], Costs]:
    """All of them wait when the core begins."""
    costs = Costs((1, 2, 4, 8), chosen=True, max_pixels=10**6, max_seconds=1.0)
    ready: ReadyJobs[Task] = ReadyJobs(costs)
    recorder, tasks = Recorder(), []
    for number in range(count):
        task = Task(Job(id=number, model="tiny", cost=10, submitted_at=0.0, **job), network, payload=number)
        tasks.append(task)
        ready.put(Prepared(number, KIND, 10, task, pinned=pinned))
    ready.close()
    models: Any = SimpleNamespace(device=torch.device("cpu"))
    Core(models, costs, ready, recorder).run()
    return recorder, tasks, costs


def test_what_waits_is_one_pass_padded_to_its_bucket() -> None:
    network = Network()
    recorder, tasks, _ = run(network, 3)
    assert network.passes == [([0, 1, 2], 4, False)]
    assert recorder.results == {number: f"result {number}" for number in range(3)}
    assert [(task.batch_size, task.bucket) for task in tasks] == [(3, 4)] * 3
    assert all(task.core_seconds > 0 for task in tasks)
    assert all(task.marks["core_end"] >= task.marks["core_start"] for task in tasks)


def test_short_memory_halves_the_batch_and_nobody_fails() -> None:
    def fault(batch: Sequence[int], how: Pass) -> None:
        if how.bucket > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    network = Network(fault)
    recorder, tasks, costs = run(network, 8)
    assert recorder.results.keys() == set(range(8))
    assert recorder.failures == {}
    assert recorder.short[0] == 8
    assert {task.bucket for task in tasks} == {2}
    assert costs.paying(KIND, 10) == (1, 2)  # it has learnt


def test_one_that_does_not_fit_goes_through_in_tiles_and_the_others_as_ever() -> None:
    def fault(batch: Sequence[int], how: Pass) -> None:
        if 3 in batch and not how.tiled:
            raise MemoryError

    network = Network(fault)
    recorder, tasks, _ = run(network, 8)
    assert recorder.results.keys() == set(range(8))
    assert [task.tiled for task in tasks] == [number == 3 for number in range(8)]
    assert ([3], 1, True) in network.passes


def test_one_that_fits_in_no_way_fails_alone() -> None:
    def fault(batch: Sequence[int], how: Pass) -> None:
        if 3 in batch:
            raise torch.OutOfMemoryError("CUDA out of memory")

    recorder, _, _ = run(Network(fault), 8)
    assert recorder.failures.keys() == {3}
    assert isinstance(recorder.failures[3], torch.OutOfMemoryError)
    assert recorder.failures[3].__traceback__ is None  # its frames held the tensors
    assert recorder.results.keys() == set(range(8)) - {3}


def test_a_pinned_batch_stays_in_its_bucket_whatever_happens() -> None:
    def fault(batch: Sequence[int], how: Pass) -> None:
        if not how.tiled:
            raise MemoryError

    network = Network(fault)
    recorder, _, _ = run(network, 4, pinned=4)
    assert {bucket for _, bucket, _ in network.passes} == {4}
    assert recorder.results.keys() == set(range(4))


def test_a_defect_fails_the_one_that_has_it(caplog: pytest.LogCaptureFixture) -> None:
    def fault(batch: Sequence[int], how: Pass) -> None:
        if 1 in batch:
            raise RuntimeError("the network broke")

    network = Network(fault)
    with caplog.at_level(logging.WARNING):
        recorder, _, _ = run(network, 3)
    assert network.passes == [([0, 1, 2], 4, False), ([0], 4, False), ([1], 4, False), ([2], 4, False)]
    assert recorder.failures.keys() == {1}
    assert recorder.results.keys() == {0, 2}
    assert "one by one" in caplog.text


def test_nobody_computes_for_who_is_late_or_gone() -> None:
    network = Network()
    recorder, _, _ = run(network, 2, deadline=time.monotonic() - 1)
    assert network.passes == []
    assert all(isinstance(error, TimedOut) for error in recorder.failures.values())
    assert recorder.failures.keys() == {0, 1}


def test_chores_run_until_they_are_done() -> None:
    costs = Costs((1,), chosen=True, max_pixels=10**6, max_seconds=1.0)
    ready: ReadyJobs[Task] = ReadyJobs(costs)
    left = iter((True, True, False))
    turns: list[bool] = []

    def chore() -> bool:
        turns.append(next(left))
        return turns[-1]

    ready.chore(chore)
    ready.close()
    models: Any = SimpleNamespace(device=torch.device("cpu"))
    Core(models, costs, ready, Recorder()).run()
    assert turns == [True, True, False]


def test_what_is_not_finished_gets_in_line_again_and_others_have_their_turns() -> None:
    left = {0: 3}

    class Pieces(Network):
        def core(self, batch: Sequence[int], how: Pass) -> Sequence[Any]:
            results = super().core(batch, how)
            if left.get(batch[0], 0):
                left[batch[0]] -= 1
                return [UNFINISHED]
            return results

    network = Pieces()
    costs = Costs((1,), chosen=True, max_pixels=10**6, max_seconds=1.0)
    ready: ReadyJobs[Task] = ReadyJobs(costs)
    recorder = Recorder()
    for number in range(3):
        task = Task(Job(id=number, model="tiny", cost=10, submitted_at=0.0), network, payload=number)
        ready.put(Prepared(number, ("clip", "tiny", number), 10, task))
    ready.close()
    models = SimpleNamespace(device=torch.device("cpu"))
    Core(models, costs, ready, recorder).run()  # type: ignore[arg-type]  # no more is looked at
    order = [numbers[0] for numbers, _, _ in network.passes]
    assert sorted(order) == [0, 0, 0, 0, 1, 2]
    assert order.index(1) < 3  # nobody waited for all of the first
    assert recorder.results == {number: f"result {number}" for number in range(3)}
