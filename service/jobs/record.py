"""What a job is: one row, as it is kept and as its states are called. Times are Unix seconds."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})
# The words of OpenAI's videos, where they have one.
STATUS: dict[State, str] = {
    "queued": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
Lane = Literal["requests", "processes"]
Json = dict[str, Any]  # JSON objects


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is asked for.

    Attributes:
        id: from ``new_id``.
        kind: a name in ``service.jobs.kinds``.
        lane: what it waits in line with.
        owner: hash of the caller's key, empty on an open server; others do not see the job.
        request: what is to be done, as the kind reads it.
        fingerprint: equal for equal requests, the body's bytes included.
        idempotency_key: what the caller named the job, if anything.
        num_bytes: that its files take so far.
    """

    id: str
    kind: str
    lane: Lane
    owner: str
    request: Json
    fingerprint: str
    idempotency_key: str | None = None
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        done: of ``total``; what is counted depends on the kind (pictures, steps).
        total: 0 while unknown.
        phase: what is being done.
        images_per_s: None where pictures are not what is counted.
        eta_s: seconds to its end; None while unknown.
    """

    done: int = 0
    total: int = 0
    phase: str = ""
    images_per_s: float | None = None
    eta_s: float | None = None

    @property
    def percent(self) -> int:
        """0 to 99: only a job that has ended is at 100."""
        return min(99, 100 * self.done // self.total) if self.total > 0 else 0


@dataclass(frozen=True, slots=True)
class Result:
    """The file that a job leaves.

    Attributes:
        file: name in the job's folder.
        media_type: its content type.
        headers: of the answer it was, where the job was a request.
        num_bytes: all that the folder holds.
    """

    file: str
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A row. ``seq`` is the order of arrival; ``attempts`` counts how often it was started, ``interruptions`` how
    often its server died under it. ``lease_owner`` is the server process that runs it, until ``lease_until``.
    """

    seq: int
    id: str
    kind: str
    lane: Lane
    owner: str
    request: Json
    state: State
    created_at: float
    started_at: float | None
    ended_at: float | None
    expires_at: float | None
    not_before: float
    attempts: int
    interruptions: int
    progress: Progress
    error: Json | None
    result: Result | None
    num_bytes: int
    fingerprint: str
    idempotency_key: str | None
    lease_owner: str | None
    lease_until: float | None
    cancel_asked: bool

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in FINISHED

    @classmethod
    def of(cls, row: sqlite3.Row) -> JobRecord:
        """Read a row of the table ``jobs``."""
        values: Mapping[str, Any] = dict(row)
        result = json.loads(values["result"]) if values["result"] else None
        return cls(
            **{name: values[name] for name in _PLAIN},
            request=json.loads(values["request"]),
            progress=Progress(*(values[name] for name in PROGRESS_COLUMNS)),
            error=json.loads(values["error"]) if values["error"] else None,
            result=None if result is None else Result(**result),
            cancel_asked=bool(values["cancel_asked"]),
        )


PROGRESS_COLUMNS = ("done", "total", "phase", "images_per_s", "eta_s")
_PLAIN = (
    *("seq", "id", "kind", "lane", "owner", "state", "created_at", "started_at", "ended_at", "expires_at"),
    *("not_before", "attempts", "interruptions", "num_bytes", "fingerprint", "idempotency_key"),
    *("lease_owner", "lease_until"),
)


def new_id(prefix: str) -> str:
    """A fresh id that nobody can guess, ``job_...``: letters that are safe in a path."""
    return f"{prefix}_{secrets.token_hex(12)}"
