"""Work that waits in the HTTP process: bounded by cost and by predicted wait, handed out fairly to the workers.

Imports no torch; used from the event loop only.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.engine.batching import PRIORITIES
from service.engine.fairness import FairShares
from service.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.engine.messages import Job, Priority

# Kind of job, model, and size class: jobs of one are much alike.
Class = tuple[str, str, int]
# Where nothing is measured yet.
UNKNOWN_RATE = 1e-6
SMOOTHING = 0.2
LONGEST_RETRY_S = 60.0
SHORTEST_RETRY_S = 0.05


class Rates:
    """Seconds of the network per unit of cost, by kind of job and model: from warm-up, then from every answer."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], float] = {}

    def learn(self, measured: Mapping[tuple[str, str], float]) -> None:
        """What a warm-up measured, for kinds of which nothing is known yet."""
        self._rates = {**measured, **self._rates}

    def seconds(self, job: Job) -> float:
        """What this job will take of one device."""
        known = self._rates.get((type(job).__name__, job.model))
        if known is None:  # as the others on average, until one was seen
            known = sum(self._rates.values()) / len(self._rates) if self._rates else UNKNOWN_RATE
        return known * weight(job)

    def observe(self, job: Job, seconds: float) -> None:
        """What it took."""
        key, rate = (type(job).__name__, job.model), seconds / max(1, weight(job))
        known = self._rates.get(key, rate)
        self._rates[key] = known + SMOOTHING * (rate - known)


def weight(job: Job) -> int:
    """Cost, the padding to a pinned bucket included."""
    return job.cost * (job.bucket or 1)


def room(job: Job) -> int:
    """What it takes of a board: all of its cost, or what it has there at a time."""
    return weight(job) if job.held is None else job.held * (job.bucket or 1)


@dataclass(slots=True, eq=False)
class Board:
    """What one worker has.

    Attributes:
        open: it takes jobs.
        jobs: by id.
        cost: that all of them have there at a time.
        seconds: that they will take, as predicted when they boarded.
        classes: how many there are of each class.
    """

    open: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    cost: int = 0
    seconds: float = 0.0
    classes: Counter[tuple[Priority, Class]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Admitted:
    job: Job
    kind: Class
    seconds: float


class JobQueue:
    """Admits jobs up to a total cost, hands them out in fair order, and knows which worker has which.

    A job counts against the limits from ``put`` to ``withdraw`` or ``done``, waiting or on board. Classes of jobs get
    equal shares of the workers' time; batch jobs board only when nothing interactive waits.

    Args:
        max_cost: most pixels that may wait or run; one job beyond it is admitted when nothing else is there.
        max_jobs: most jobs that may wait or run.
        max_wait_s: longest predicted wait of a job that is admitted while others are there.
        board_jobs: most jobs of one class on a board: enough that a batch waits ready while one runs. Of all classes,
            twice as many.
        board_cost: most pixels on a board; one job beyond it boards alone.
        boards: number of workers.
    """

    def __init__(
        self,
        *,
        max_cost: int,
        max_jobs: int,
        board_jobs: int,
        board_cost: int,
        max_wait_s: float = float("inf"),
        boards: int = 1,
    ) -> None:
        self._max_cost = max_cost
        self._max_jobs = max_jobs
        self._max_wait_s = max_wait_s
        self._board_jobs = board_jobs
        self._board_cost = board_cost
        self.boards = [Board() for _ in range(boards)]
        self.rates = Rates()
        self._waiting: dict[Priority, dict[Class, deque[Job]]] = {name: {} for name in PRIORITIES}
        self._shares: dict[Priority, FairShares[Class]] = {name: FairShares() for name in PRIORITIES}
        self._admitted: dict[int, _Admitted] = {}
        self._cost = 0
        # Predicted seconds, and number, of what waits or runs, by class; a class that has nothing is not there.
        self._seconds: dict[Priority, defaultdict[Class, float]] = {
            name: defaultdict(float) for name in PRIORITIES
        }
        self._counts: dict[Priority, Counter[Class]] = {name: Counter() for name in PRIORITIES}

    @property
    def cost(self) -> int:
        """Pixels that wait or run."""
        return self._cost

    @property
    def on_board(self) -> tuple[int, ...]:
        """Ids of the jobs that workers have."""
        return tuple(job_id for board in self.boards for job_id in board.jobs)

    @property
    def waiting(self) -> int:
        """Jobs that no worker has yet."""
        return len(self._admitted) - len(self.on_board)

    def uses(self, model: str) -> bool:
        """Whether a job of this model waits or runs."""
        return any(admitted.job.model == model for admitted in self._admitted.values())

    def wait_s(self, priority: Priority, kind: Class | None = None) -> float:
        """Predicted wait of a job that would be admitted now.

        Classes get equal shares, so a job waits for those of its own class before it, as many times as there are
        classes; and never for more than everything.
        """
        urgent = PRIORITIES[: PRIORITIES.index(priority) + 1]
        before = sum(sum(self._seconds[name].values()) for name in urgent)
        if kind is not None:
            classes = sum(len(self._seconds[name].keys() | {kind}) for name in urgent)
            before = min(before, self._seconds[priority].get(kind, 0.0) * classes)
        return max(0.0, before) / max(1, sum(board.open for board in self.boards))

    def put(self, job: Job) -> None:
        """Admit a job.

        Raises:
            QueueFull: with the predicted wait, after which asking again makes sense.
        """
        kind = (type(job).__name__, job.model, job.cost.bit_length())
        wait = self.wait_s(job.priority, kind)
        late = job.deadline is not None and time.monotonic() + wait > job.deadline
        full = self._cost + weight(job) > self._max_cost or len(self._admitted) >= self._max_jobs
        if full:
            wait = self.wait_s(job.priority)
        if (full or late or wait > self._max_wait_s) and self._admitted:
            seconds = min(LONGEST_RETRY_S, max(SHORTEST_RETRY_S, wait))
            reason = "x-timeout-ms is shorter than the wait" if late else "the server is busy"
            raise QueueFull(
                f"{reason} ({len(self._admitted)} requests wait): ask again in {seconds:.1f} s",
                details={"retry_after_s": round(seconds, 3), "waiting": len(self._admitted)},
            )
        self._admitted[job.id] = _Admitted(job, kind, self.rates.seconds(job))
        self._waiting[job.priority].setdefault(kind, deque()).append(job)
        self._cost += weight(job)
        self._seconds[job.priority][kind] += self._admitted[job.id].seconds
        self._counts[job.priority][kind] += 1

    def board(self) -> list[tuple[int, Job]]:
        """Take what the workers have room for; (number of the worker, job). These are on board from now on."""
        boarding: list[tuple[int, Job]] = []
        while (place := self._next()) is not None:
            boarding.append(place)
        return boarding

    def withdraw(self, job_id: int) -> bool:
        """Forget a job that still waits; False if it is on board, where only the worker can end it."""
        admitted = self._admitted.get(job_id)
        if admitted is None or any(job_id in board.jobs for board in self.boards):
            return False
        self._take(admitted)
        self._forget(job_id)
        return True

    def done(self, job_id: int, seconds: float | None = None) -> None:
        """A job has left its board; ``seconds`` of the network's time for it tune what is predicted."""
        for board in self.boards:
            job = board.jobs.pop(job_id, None)
            if job is None:
                continue
            admitted = self._admitted[job_id]
            board.cost -= room(job)
            board.seconds = board.seconds - admitted.seconds if board.jobs else 0.0
            board.classes[job.priority, admitted.kind] -= 1
            board.classes += Counter()  # drops what is zero
            self._forget(job_id)
            if seconds is not None:
                self.rates.observe(job, seconds)
            return

    def _next(self) -> tuple[int, Job] | None:
        for priority, queues in self._waiting.items():
            if not queues:
                continue
            kinds = [
                kind for kind in queues if any(self._has_seat(board, priority, kind) for board in self.boards)
            ]
            if not kinds:
                return None
            kind = self._shares[priority].choose(kinds)
            job = queues[kind][0]
            number = self._least_loaded(job, kind)
            if number is None:  # nobody overtakes one that needs more room
                return None
            self._take(self._admitted[job.id])
            self._enter(number, self._admitted[job.id])
            return number, job
        return None

    def _has_seat(self, board: Board, priority: Priority, kind: Class) -> bool:
        most = self._board_jobs if priority == "interactive" else max(1, self._board_jobs // 2)
        return board.open and board.classes[priority, kind] < most and len(board.jobs) < 2 * self._board_jobs

    def _least_loaded(self, job: Job, kind: Class) -> int | None:
        """Number of the worker that has room for a job and will be free first."""
        limit = self._board_cost if job.priority == "interactive" else self._board_cost // 2
        numbers = [
            number
            for number, board in enumerate(self.boards)
            if self._has_seat(board, job.priority, kind)
            and (not board.jobs or board.cost + room(job) <= limit)
        ]
        return min(numbers, key=lambda number: self.boards[number].seconds, default=None)

    def _enter(self, number: int, admitted: _Admitted) -> None:
        job, board = admitted.job, self.boards[number]
        board.jobs[job.id] = job
        board.cost += room(job)
        board.seconds += admitted.seconds
        board.classes[job.priority, admitted.kind] += 1
        self._shares[job.priority].charge(admitted.kind, admitted.seconds)

    def _take(self, admitted: _Admitted) -> None:
        """Out of the line."""
        queues = self._waiting[admitted.job.priority]
        queues[admitted.kind].remove(admitted.job)
        if not queues[admitted.kind]:
            del queues[admitted.kind]

    def _forget(self, job_id: int) -> None:
        admitted = self._admitted.pop(job_id)
        priority, kind = admitted.job.priority, admitted.kind
        self._cost -= weight(admitted.job)
        self._seconds[priority][kind] -= admitted.seconds
        self._counts[priority][kind] -= 1
        if not self._counts[priority][kind]:  # nothing is left over by rounding
            del self._seconds[priority][kind], self._counts[priority][kind]
