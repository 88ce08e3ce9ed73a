"""What a kind of job is, and what it gets to run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.jobs.record import JobRecord, Json, Lane, Progress, Result
    from service.jobs.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job.

    Attributes:
        record: its row as it was claimed.
        folder: its files.
        around: what the server gives to jobs.
        report: call it with news of the progress, from the event loop, as often as there are some.
    """

    record: JobRecord
    folder: Path
    around: Surroundings
    report: Callable[[Progress], None]


class Kind(Protocol):
    """A kind of job: one instance, kept in ``KINDS``."""

    @property
    def name(self) -> str:
        """In the row and in answers."""
        ...

    @property
    def shape(self) -> Literal["job", "evaluation"]:
        """What answers call the object."""
        ...

    @property
    def lane(self) -> Lane:
        """What its jobs wait in line with."""
        ...

    async def run(self, run: Run) -> Result:
        """Do it. May be called again for a job whose server died; cancelling it ends everything that it started.

        Raises:
            ServiceError, Refused: the job has failed, for this reason.
            Again: it could not be done now.
        """
        ...

    async def discard(self, run: Run) -> None:
        """End what an earlier run of this job may have left running."""
        ...

    def shown(self, record: JobRecord, folder: Path) -> Json:
        """What answers about such a job say beside what all jobs say; may read its files."""
        ...


class Refused(Exception):  # noqa: N818  the job is at fault, not the server
    """The job has failed.

    Args:
        error: as answers show it: code, message, param and more facts.
    """

    def __init__(self, error: Json) -> None:
        super().__init__(error.get("message"))
        self.error = error


class Again(Exception):  # noqa: N818  nothing went wrong with the job
    """The job goes back into its place in the line.

    Args:
        after_s: seconds before it is tried again.
        interrupted: whether the run counts against the attempts of the job.
    """

    def __init__(self, after_s: float, *, interrupted: bool = False) -> None:
        super().__init__(after_s)
        self.after_s = after_s
        self.interrupted = interrupted
