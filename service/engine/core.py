"""The one thread that runs networks: batches, steps and chores, each in its turn, and what to do when one fails."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch

from service.engine.batching import Batch, Group, Prepared, ReadyJobs, Tick
from service.engine.failures import end_if_broken, free_memory, is_memory, too_late, without_frames
from service.engine.messages import GenerateJob
from service.engine.operations.base import Pass, Unfinished
from service.engine.operations.generate import Generate, Made
from service.engine.stepping import Run, Stepping
from service.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from service.engine.costs import Costs
    from service.engine.models import Models
    from service.engine.task import Task

logger = logging.getLogger(__name__)


class Outcomes(Protocol):
    """Where what becomes of jobs goes; every task comes to ``computed``, ``failed`` or ``dropped`` exactly once."""

    def computed(self, task: Task) -> None:
        """``task.result`` is on the device and finished; may block while the next stage is behind."""
        ...

    def failed(self, task: Task, error: BaseException) -> None:
        """It cannot be done."""
        ...

    def dropped(self, task: Task) -> None:
        """Nobody waits for it."""
        ...

    def advanced(self, task: Task, step: int, num_steps: int, clean: Callable[[], Tensor] | None) -> None:
        """It has made a step; must not block."""
        ...

    def memory_short(self, rows: int) -> None:
        """A pass of so many rows did not fit."""
        ...


class Core:
    """Runs what is ready until it is closed.

    Args:
        models: what the operations work with.
        costs: told of every pass.
        ready: gives the turns.
        outcomes: is told what became of jobs.
    """

    def __init__(self, models: Models, costs: Costs, ready: ReadyJobs[Task], outcomes: Outcomes) -> None:
        self._models = models
        self._costs = costs
        self._ready = ready
        self._outcomes = outcomes
        self._steppings: dict[Group, Stepping[Task]] = {}

    def run(self) -> None:
        """Take turns; returns when ``ready`` is closed and empty."""
        while (turn := self._ready.take()) is not None:
            started = time.monotonic()
            with torch.inference_mode():
                if isinstance(turn, Batch):
                    self._batch(turn.jobs, Pass(turn.bucket))
                elif isinstance(turn, Tick):
                    self._tick(turn.group, turn.joining)
                elif turn.run():
                    self._ready.chore(turn.run)
            self._ready.charge(turn.group, time.monotonic() - started)

    def _batch(self, jobs: Sequence[Prepared[Task]], how: Pass) -> None:
        jobs = [job for job in jobs if not self._gone(job.payload)]
        if not jobs:
            return
        error = self._try(jobs, how)
        if error is None:
            return
        if is_memory(error):
            self._with_less(jobs, how, without_frames(error))
        elif len(jobs) == 1:
            self._outcomes.failed(jobs[0].payload, error)
        else:
            logger.warning("a batch of %d failed (%s): one by one", len(jobs), type(error).__name__)
            for job in jobs:
                self._batch([job], how)

    def _with_less(self, jobs: Sequence[Prepared[Task]], how: Pass, error: BaseException) -> None:
        """Memory did not hold the pass: halves, then one row at a time, then tiles; who fits in none of them fails."""
        first = jobs[0]
        logger.warning("memory does not hold a pass of %d rows of %d pixels", how.bucket, first.pixels)
        self._outcomes.memory_short(how.bucket)
        self._costs.too_much(first.kind, first.pixels, how.bucket)
        free_memory()
        if len(jobs) > 1:
            for half in (jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]):
                rows = sum(job.rows for job in half)
                smaller = first.pinned or self._costs.best(first.kind, first.pixels, rows)
                self._batch(half, replace(how, bucket=smaller))
        elif how.bucket > 1 and first.pinned is None:
            self._batch(jobs, replace(how, bucket=1))
        elif not how.tiled:
            first.payload.tiled = True
            self._batch(jobs, replace(how, tiled=True))
        else:
            self._outcomes.failed(first.payload, error)

    def _try(self, jobs: Sequence[Prepared[Task]], how: Pass) -> BaseException | None:
        """One call of the operation's core; its error, with nothing told to anybody, if it fails."""
        tasks = [job.payload for job in jobs]
        logger.debug("pass of %d in %d: %s", len(tasks), how.bucket, jobs[0].key)
        started = time.monotonic()
        try:
            results = tasks[0].operation.core([task.payload for task in tasks], how)
            self._wait_for_device()
        except BaseException as error:
            end_if_broken(error)
            return error
        ended = time.monotonic()
        rows = sum(job.rows for job in jobs)
        if not how.tiled:
            passes = -(-rows // how.bucket)
            self._costs.observe(jobs[0].kind, jobs[0].pixels, how.bucket, (ended - started) / passes)
        for job, result in zip(jobs, results, strict=True):
            task = job.payload
            task.batch_size = max(task.batch_size, len(jobs))
            task.core_seconds += (ended - started) * job.rows / rows
            if task.bucket is None:
                task.bucket = how.bucket
            else:  # the bucket of the steps stands already
                task.decode_bucket = how.bucket
            task.marks.setdefault("core_start", started)
            task.marks["core_end"] = ended
            if isinstance(result, Unfinished):
                self._ready.put(job)
                continue
            task.result = result
            self._outcomes.computed(task)
        return None

    def _tick(self, group: Group, joining: Sequence[Prepared[Task]]) -> None:
        joining = [job for job in joining if not self._gone(job.payload)]
        try:
            stepping = self._stepping(group)
        except NotReady as error:  # its model was unloaded meanwhile
            for job in joining:
                self._outcomes.failed(job.payload, error)
            return
        rows = sum(job.rows for job in joining)
        for job in joining:
            rows -= job.rows
            task = job.payload
            task.marks["core_start"] = time.monotonic()
            logger.debug("%s %d joins with %d pictures", type(task.job).__name__, job.id, job.rows)
            for problem in stepping.join(
                task, task.payload, arrived=task.job.submitted_at, pinned=job.pinned, beside=rows
            ):
                self._outcomes.failed(task, problem)
        for task in stepping.drop(lambda task: task.gone):
            self._gone(task)
        ticked = stepping.tick()
        for _ in range(ticked.memory_short):
            self._outcomes.memory_short(ticked.rows)
        for task, problem in ticked.failed:
            self._outcomes.failed(task, problem)
        for advanced in ticked.advanced:
            run = advanced.run
            self._outcomes.advanced(run.owner, run.step, run.num_steps, advanced.clean)
        for run in ticked.finished:
            try:
                self._made(group, run)
            except Exception as error:
                end_if_broken(error)
                self._outcomes.failed(run.owner, error)
        self._ready.stay(group, busy=len(stepping) > 0)
        if not len(stepping):
            del self._steppings[group]

    def _stepping(self, group: Group) -> Stepping[Task]:
        if group not in self._steppings:
            kind, model, *size = group.key
            pipeline = self._models.pipelines[str(model)]
            pixels = math.prod(int(str(side)) for side in size)
            self._steppings[group] = Stepping(pipeline, self._costs, (str(kind), str(model)), pixels)
        return self._steppings[group]

    def _made(self, group: Group, run: Run[Task]) -> None:
        """All steps of a request are done: its decoding gets in line, or it is finished."""
        task = run.owner
        logger.debug("%s %d has made its steps", type(task.job).__name__, task.job.id)
        task.bucket = run.lane.bucket
        task.batch_size = run.companions
        task.core_seconds += run.seconds
        z = torch.stack([slot.z for slot in run.slots])
        assert isinstance(task.operation, Generate)
        assert isinstance(task.job, GenerateJob)  # nothing else is stepped
        made = task.operation.made(task.job, z, run.start, run.given)
        if isinstance(made, Made):
            self._wait_for_device()
            task.payload = made
            task.marks["core_end"] = time.monotonic()
            self._outcomes.computed(task)
            return
        task.payload = made.payload
        pinned = None if run.pinned is None else task.job.decode_bucket or run.pinned
        self._ready.put(
            Prepared(made.id, made.key, made.cost, task, made.rows, False, group.priority, pinned)
        )

    def _gone(self, task: Task) -> bool:
        """Whether nobody waits for it any more; then that is told."""
        if task.cancelled:
            self._outcomes.dropped(task)
            return True
        if task.late:
            self._outcomes.failed(task, too_late())
            return True
        return False

    def _wait_for_device(self) -> None:
        """Errors of the device surface here, and what queues meanwhile is one batch."""
        if self._models.device.type == "cuda":
            torch.cuda.current_stream(self._models.device).synchronize()
