"""Opportunistic batching: take what is there when the network is free, never wait for more.

Under one request at a time it costs nothing; under load, batches fill by themselves. Imports no torch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared(Generic[T]):
    """A job that is ready for the network.

    Attributes:
        id: of the job.
        key: jobs with equal keys can share a pass; begins with the kind of pass and the name of the model.
        cost: pixels.
        payload: whatever the operation needs.
        rows: that it fills of a batch.
    """

    id: int
    key: tuple[Hashable, ...]
    cost: int
    payload: T
    rows: int = 1


class ReadyJobs(Generic[T]):
    """Prepared jobs in order of arrival; any thread may put, one thread takes.

    Args:
        max_batch: most jobs in one batch.
        max_cost: most pixels in one batch; a job beyond it runs alone.
    """

    def __init__(self, *, max_batch: int, max_cost: int) -> None:
        self._max_batch = max_batch
        self._max_cost = max_cost
        self._jobs: deque[Prepared[T]] = deque()
        self._condition = threading.Condition()
        self._closed = False

    def put(self, job: Prepared[T]) -> None:
        """Add a job."""
        with self._condition:
            self._jobs.append(job)
            self._condition.notify()

    def __len__(self) -> int:
        """Jobs that wait for the network."""
        with self._condition:
            return len(self._jobs)

    def drop(self, job_id: int) -> bool:
        """Remove a job that nobody waits for; False if it is not here (not prepared yet, or taken)."""
        with self._condition:
            for job in self._jobs:
                if job.id == job_id:
                    self._jobs.remove(job)
                    return True
            return False

    def close(self) -> None:
        """Let ``take`` return what is left, then None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> list[Prepared[T]] | None:
        """Block until there is a job; give the oldest and all that can share its pass. None when closed and
        empty.
        """
        with self._condition:
            while not self._jobs and not self._closed:
                self._condition.wait()
            if not self._jobs:
                return None
            first = self._jobs[0]
            batch: list[Prepared[T]] = []
            rest: deque[Prepared[T]] = deque()
            cost = 0
            for job in self._jobs:
                fits = not batch or (len(batch) < self._max_batch and cost + job.cost <= self._max_cost)
                if job.key == first.key and fits:
                    batch.append(job)
                    cost += job.cost
                else:
                    rest.append(job)
            self._jobs = rest
            return batch
