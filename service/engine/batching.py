"""What the network does next: opportunistic batches and steps, taken when it is free, never waited for.

Under one request at a time this costs nothing; under load, batches fill by themselves. Whose turn it is among
kinds of work and shapes, ``fairness`` decides; how large a batch is, ``costs``. Imports no torch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from service.engine.fairness import FairShares

if TYPE_CHECKING:
    from service.engine.costs import Costs
    from service.engine.messages import Priority

T = TypeVar("T")

Key = tuple[Hashable, ...]
# Orders what is urgent; batch work has its turn when nothing interactive waits.
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")
CHORES: Key = ("chores",)


@dataclass(frozen=True, slots=True)
class Prepared(Generic[T]):
    """A job that is ready for the network.

    Attributes:
        id: of the job.
        key: jobs with equal keys can share a pass; begins with the kind of pass and the name of the model.
        cost: pixels.
        payload: whatever the operation needs.
        rows: that it fills of a batch.
        stepped: it stays for many passes (``stepping``), instead of being done by one.
        priority: of the job.
        pinned: the bucket that it must run in, if it must.
    """

    id: int
    key: Key
    cost: int
    payload: T
    rows: int = 1
    stepped: bool = False
    priority: Priority = "interactive"
    pinned: int | None = None

    @property
    def pixels(self) -> int:
        """Of one row."""
        return max(1, self.cost // self.rows)

    @property
    def kind(self) -> tuple[str, str]:
        """What ``costs`` knows it by."""
        return str(self.key[0]), str(self.key[1])


@dataclass(frozen=True, slots=True)
class Group:
    """Whose turn it is: work of one key and priority."""

    priority: Priority
    key: Key


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Run these in passes of ``bucket`` rows: one pass, or several for a job of more rows than any bucket has."""

    group: Group
    jobs: list[Prepared[T]]
    bucket: int


@dataclass(frozen=True, slots=True)
class Tick(Generic[T]):
    """Take these in, then make one pass of steps."""

    group: Group
    joining: list[Prepared[T]]


@dataclass(frozen=True, slots=True)
class Chore:
    """Something else that must happen between passes."""

    group: Group
    run: Callable[[], bool]  # whether it wants another turn


class ReadyJobs(Generic[T]):
    """Work that waits for the network; any thread adds, one thread takes.

    Args:
        costs: says how large batches may be.
        room: whether the results of another batch of this priority can be taken; asked before every turn of
            batch work, which must not make interactive work wait behind its results.
    """

    def __init__(self, costs: Costs, room: Callable[[Priority], bool] = lambda _: True) -> None:
        self._costs = costs
        self._room = room
        self._waiting: dict[Group, deque[Prepared[T]]] = {}
        self._staying: set[Group] = set()
        self._chores: deque[Callable[[], bool]] = deque()
        self._shares: FairShares[Key] = FairShares()
        self._condition = threading.Condition()
        self._closed = False

    def put(self, job: Prepared[T]) -> None:
        """Add a job."""
        with self._condition:
            self._waiting.setdefault(Group(job.priority, job.key), deque()).append(job)
            self._condition.notify()

    def chore(self, run: Callable[[], bool]) -> None:
        """Have the taker call ``run`` between passes, again and again in its turns until it returns False."""
        with self._condition:
            self._chores.append(run)
            self._condition.notify()

    def stay(self, group: Group, *, busy: bool) -> None:
        """Whether a group has steps to make, so that it gets turns with nobody joining."""
        with self._condition:
            (self._staying.add if busy else self._staying.discard)(group)

    def wake(self) -> None:
        """There may be room again."""
        with self._condition:
            self._condition.notify()

    def __len__(self) -> int:
        """Jobs that wait for the network."""
        with self._condition:
            return sum(len(jobs) for jobs in self._waiting.values())

    def drop(self, job_id: int) -> bool:
        """Remove a job that nobody waits for; False if it is not here (not prepared yet, or taken)."""
        with self._condition:
            for group, jobs in self._waiting.items():
                for job in jobs:
                    if job.id == job_id:
                        self._remove(group, [job])
                        return True
            return False

    def close(self) -> None:
        """Let ``take`` return what is left, then None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def charge(self, group: Group, seconds: float) -> None:
        """The turn of this group took so long."""
        with self._condition:
            self._shares.charge(group.key, seconds)

    def take(self) -> Batch[T] | Tick[T] | Chore | None:
        """Block until there is work; give the turn to whom it belongs. None when closed and empty."""
        with self._condition:
            while not (groups := self._candidates()):
                if self._closed and not (self._waiting or self._staying):
                    return None
                self._condition.wait()
            key = self._shares.choose([group.key for group in groups])
            group = next(group for group in groups if group.key == key)
            if key == CHORES:
                return Chore(group, self._chores.popleft())
            jobs = self._waiting.get(group, deque())
            if group in self._staying or jobs[0].stepped:
                joining = list(jobs)
                self._remove(group, joining)
                return Tick(group, joining)
            return self._batch(group, jobs)

    def _candidates(self) -> list[Group]:
        """Groups of the most urgent priority that has any, the longest waiting first."""
        for priority in PRIORITIES:
            groups = [group for group in self._waiting if group.priority == priority]
            groups += [
                group for group in self._staying if group.priority == priority and group not in self._waiting
            ]
            if priority == "interactive" and self._chores:
                groups.append(Group("interactive", CHORES))
            if groups and (priority == "interactive" or self._room(priority)):
                return groups
        return []

    def _batch(self, group: Group, jobs: deque[Prepared[T]]) -> Batch[T]:
        """The oldest job and all that can share its pass, oldest first."""
        first = jobs[0]
        alike = [job for job in jobs if job.pinned == first.pinned and job.pixels == first.pixels]
        bucket = first.pinned or self._costs.best(first.kind, first.pixels, sum(job.rows for job in alike))
        batch, rows = [first], first.rows
        for job in alike[1:]:
            if rows + job.rows > bucket:
                break
            batch.append(job)
            rows += job.rows
        if first.pinned is None and rows < bucket:  # a job of many rows did not fit behind the others
            bucket = self._costs.best(first.kind, first.pixels, rows)
        self._remove(group, batch)
        return Batch(group, batch, bucket)

    def _remove(self, group: Group, gone: list[Prepared[T]]) -> None:
        ids = {job.id for job in gone}
        left = deque(job for job in self._waiting.get(group, ()) if job.id not in ids)
        if left:
            self._waiting[group] = left
        else:
            self._waiting.pop(group, None)
