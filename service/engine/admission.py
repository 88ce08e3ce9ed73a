"""Work that waits in the HTTP process, bounded by cost. Imports no torch; used from the event loop only."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from service.errors import QueueFull

if TYPE_CHECKING:
    from service.engine.messages import Job


class JobQueue:
    """Admits jobs up to a total cost, hands them out in order, and knows which are on board the worker.

    A job counts against the limits from ``put`` to ``withdraw`` or ``done``, waiting or on board.

    Args:
        max_cost: most pixels that may wait or run; one job beyond it is admitted when nothing else is there.
        max_jobs: most jobs that may wait or run.
        board_jobs: most jobs on board the worker at once: enough that a batch waits ready while one runs.
        board_cost: most pixels on board at once; one job beyond it boards alone.
    """

    def __init__(self, *, max_cost: int, max_jobs: int, board_jobs: int, board_cost: int) -> None:
        self._max_cost = max_cost
        self._max_jobs = max_jobs
        self._board_jobs = board_jobs
        self._board_cost = board_cost
        self._waiting: deque[Job] = deque()
        self._admitted: dict[int, Job] = {}
        self._on_board: dict[int, Job] = {}
        self._cost = 0
        self._aboard = 0
        self._seconds_per_pixel = 1e-6

    @property
    def cost(self) -> int:
        """Pixels that wait or run."""
        return self._cost

    @property
    def waiting(self) -> int:
        """Jobs that the worker does not have yet."""
        return len(self._admitted) - len(self._on_board)

    @property
    def on_board(self) -> tuple[int, ...]:
        """Ids of the jobs that the worker has."""
        return tuple(self._on_board)

    def put(self, job: Job) -> None:
        """Admit a job.

        Raises:
            QueueFull: with the seconds after which asking again makes sense.
        """
        full = self._cost + job.cost > self._max_cost and self._admitted
        if full or len(self._admitted) >= self._max_jobs:
            seconds = min(60.0, max(1.0, self._cost * self._seconds_per_pixel))
            raise QueueFull(
                f"the server is busy ({len(self._admitted)} requests wait): ask again in {seconds:.0f} s",
                details={"retry_after_s": round(seconds, 1)},
            )
        self._admitted[job.id] = job
        self._waiting.append(job)
        self._cost += job.cost

    def board(self) -> list[Job]:
        """Take what the worker has room for, oldest first; these are on board from now on."""
        boarding: list[Job] = []
        while self._waiting:
            job = self._waiting[0]
            room = len(self._on_board) < self._board_jobs and self._aboard + job.cost <= self._board_cost
            if self._on_board and not room:
                break
            self._waiting.popleft()
            self._on_board[job.id] = job
            self._aboard += job.cost
            boarding.append(job)
        return boarding

    def withdraw(self, job_id: int) -> bool:
        """Forget a job that still waits; False if it is on board, where only the worker can end it."""
        job = self._admitted.get(job_id)
        if job is None or job_id in self._on_board:
            return False
        self._waiting.remove(job)
        del self._admitted[job_id]
        self._cost -= job.cost
        return True

    def done(self, job_id: int, seconds: float | None = None) -> None:
        """A job has left the board; ``seconds`` of the worker's time for it tune ``Retry-After``."""
        job = self._on_board.pop(job_id, None)
        if job is None:
            return
        del self._admitted[job_id]
        self._cost -= job.cost
        self._aboard -= job.cost
        if seconds is not None and job.cost:
            self._seconds_per_pixel += 0.2 * (seconds / job.cost - self._seconds_per_pixel)
