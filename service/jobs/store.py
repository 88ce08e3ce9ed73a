"""The rows of all jobs, in SQLite: whatever is answered here is on disk, and outlives the process.

Calls block for the disk: they run in one thread (``house.py``). Claims and changes are single transactions
(``BEGIN IMMEDIATE``), so several servers on one file never run a job together. Who runs a job holds a lease on it and
renews it; every later write of that server names the lease, so one that has lost it changes nothing.

Source: SQLite documentation, "Write-Ahead Logging" and "BEGIN IMMEDIATE" in "Transaction".
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service.errors import QueueFull
from service.jobs.errors import IdempotencyConflict, JobNotFinished, UnknownJob
from service.jobs.record import PROGRESS_COLUMNS, JobRecord
from service.jobs.tables import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from service.jobs.record import Json, Lane, NewJob, Progress, Result, State

BUSY_S = 30.0
UNFINISHED = "state IN ('queued', 'running')"
SUCCEEDED_FOR_ESTIMATES = 20


class JobStore:
    """One connection to the file.

    Args:
        path: of the file; made if it is not there.
        max_waiting: most jobs that are queued at once.
        max_bytes: most bytes that the folders of all jobs hold together.
        clock: Unix seconds.

    Raises:
        ValueError: a newer server has written this file.
    """

    def __init__(
        self, path: Path, *, max_waiting: int, max_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._clock = clock
        # Autocommit: transactions are begun where they belong. One thread at a time uses it, not always the same.
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # an answered 202 outlives the machine's power too
        migrate(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find_repeat(self, owner: str, key: str, fingerprint: str) -> JobRecord | None:
        """The job that the caller has named so before.

        Raises:
            IdempotencyConflict: it was another request.
        """
        found = self._one("SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", owner, key)
        if found is not None and found.fingerprint != fingerprint:
            raise IdempotencyConflict(
                f"the Idempotency-Key {key[:64]!r} belongs to another request (job {found.id}): send a key of its own "
                "with every new request, or the first request unchanged",
                param="idempotency-key",
                details={"job": found.id},
            )
        return found

    def add(self, job: NewJob) -> tuple[JobRecord, bool]:
        """(row, True), or (the row that already has this key, False).

        Raises:
            IdempotencyConflict: the key belongs to another request.
            QueueFull: too many jobs wait, or their files take too much room.
        """
        with self._write():
            if job.idempotency_key is not None:
                found = self.find_repeat(job.owner, job.idempotency_key, job.fingerprint)
                if found is not None:
                    return found, False
            self._refuse_when_full(job.num_bytes)
            columns = {
                **{"id": job.id, "kind": job.kind, "lane": job.lane, "owner": job.owner, "state": "queued"},
                "request": json.dumps(job.request),
                "created_at": self._clock(),
                "num_bytes": job.num_bytes,
                "fingerprint": job.fingerprint,
                "idempotency_key": job.idempotency_key,
            }
            marks = ", ".join("?" * len(columns))
            names = ", ".join(columns)  # our own words, never the caller's
            self._db.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(columns.values()))
            return self.get(job.id), True

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """A row; with ``owner`` only if it is theirs.

        Raises:
            UnknownJob.
        """
        found = self._one("SELECT * FROM jobs WHERE id = ?", job_id)
        if found is None or owner not in (None, found.owner):
            raise UnknownJob(f"no job {job_id[:64]!r}: GET /v1/jobs lists yours, those that expired are gone")
        return found

    def page(
        self,
        owner: str,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
        kind: str | None = None,
        state: State | None = None,
    ) -> list[JobRecord]:
        """Up to ``limit`` of the owner's rows that follow the job ``after``.

        Raises:
            UnknownJob: there is no job ``after``.
        """
        wanted, values = ["owner = ?"], [owner]
        for column, value in (("kind", kind), ("state", state)):
            if value is not None:
                wanted.append(f"{column} = ?")
                values.append(value)
        numbers: list[int] = []
        if after is not None:
            wanted.append("seq < ?" if newest_first else "seq > ?")
            numbers.append(self.get(after, owner).seq)
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT * FROM jobs WHERE {' AND '.join(wanted)} ORDER BY seq {order} LIMIT ?"
        return self._all(query, *values, *numbers, limit)

    def claim(self, lane: Lane, owner: str, lease_s: float) -> JobRecord | None:
        """Take the oldest waiting job of a lane and run it under this lease; None if there is none."""
        with self._write():
            now = self._clock()
            found = self._one(
                "SELECT * FROM jobs WHERE lane = ? AND state = 'queued' AND not_before <= ? ORDER BY seq LIMIT 1",
                lane,
                now,
            )
            if found is None:
                return None
            self._db.execute(
                "UPDATE jobs SET state = 'running', started_at = ?, attempts = attempts + 1, lease_owner = ?, "
                "lease_until = ?, done = 0, total = 0, phase = '', images_per_s = NULL, eta_s = NULL WHERE id = ?",
                (now, owner, now + lease_s, found.id),
            )
            return self.get(found.id)

    def renew(self, owner: str, lease_s: float) -> list[JobRecord]:
        """Renew all leases of a server; the rows that it still holds."""
        with self._write():
            self._db.execute(
                "UPDATE jobs SET lease_until = ? WHERE lease_owner = ? AND state = 'running'",
                (self._clock() + lease_s, owner),
            )
            return self._all("SELECT * FROM jobs WHERE lease_owner = ? AND state = 'running'", owner)

    def progress(self, job_id: str, owner: str, progress: Progress) -> None:
        """Note how far a job is."""
        values = asdict(progress)
        changes = ", ".join(f"{name} = ?" for name in PROGRESS_COLUMNS)
        self._db.execute(
            f"UPDATE jobs SET {changes} WHERE id = ? AND lease_owner = ? AND state = 'running'",
            (*(values[name] for name in PROGRESS_COLUMNS), job_id, owner),
        )

    def finish(
        self,
        job_id: str,
        owner: str,
        state: State,
        *,
        keep_s: float,
        result: Result | None = None,
        error: Json | None = None,
    ) -> bool:
        """End a job under its lease; False if the lease was lost, then nothing is changed."""
        now = self._clock()
        done = ", done = total" if state == "succeeded" else ""
        cursor = self._db.execute(
            f"UPDATE jobs SET state = ?, ended_at = ?, expires_at = ?, result = ?, error = ?, lease_owner = NULL, "
            f"lease_until = NULL, eta_s = NULL, num_bytes = max(num_bytes, ?){done} "
            "WHERE id = ? AND lease_owner = ? AND state = 'running'",
            (
                *(state, now, now + keep_s),
                None if result is None else json.dumps(asdict(result)),
                None if error is None else json.dumps(error),
                0 if result is None else result.num_bytes,
                *(job_id, owner),
            ),
        )
        return cursor.rowcount == 1

    def release(self, job_id: str, owner: str, *, after_s: float = 0.0, interrupted: bool = False) -> bool:
        """Put a job back into its place in the line; ``interrupted`` counts against its attempts."""
        cursor = self._db.execute(
            "UPDATE jobs SET state = 'queued', not_before = ?, lease_owner = NULL, lease_until = NULL, "
            "attempts = attempts - ?, interruptions = interruptions + ? "
            "WHERE id = ? AND lease_owner = ? AND state = 'running'",
            (self._clock() + after_s, int(not interrupted), int(interrupted), job_id, owner),
        )
        return cursor.rowcount == 1

    def servers(self) -> set[str]:
        """Who holds leases."""
        rows = self._db.execute("SELECT DISTINCT lease_owner FROM jobs WHERE state = 'running'")
        return {row[0] for row in rows if row[0] is not None}

    def recover(self, dead: Iterable[str]) -> list[str]:
        """Put the jobs of dead servers, and those whose lease ran out, back into the line; their ids."""
        gone = list(dead)
        marks = ", ".join("?" * len(gone))
        with self._write():
            rows = self._db.execute(
                f"UPDATE jobs SET state = 'queued', not_before = 0, lease_owner = NULL, lease_until = NULL, "
                f"interruptions = interruptions + 1 WHERE state = 'running' AND (lease_owner IN ({marks}) "
                "OR lease_until < ?) RETURNING id",
                (*gone, self._clock()),
            ).fetchall()
        return [row[0] for row in rows]

    def ask_cancel(self, job_id: str, owner: str, *, keep_s: float) -> JobRecord:
        """Cancel a job that waits, and ask whoever runs it to stop; one that has ended stays as it is.

        Raises:
            UnknownJob.
        """
        with self._write():
            found = self.get(job_id, owner)
            now = self._clock()
            if found.state == "queued" and found.attempts == 0:
                self._db.execute(
                    "UPDATE jobs SET state = 'cancelled', cancel_asked = 1, ended_at = ?, expires_at = ? WHERE id = ?",
                    (now, now + keep_s, job_id),
                )
            elif not found.finished:  # one that was started may have left something running: its kind looks
                self._db.execute("UPDATE jobs SET cancel_asked = 1, not_before = 0 WHERE id = ?", (job_id,))
            return self.get(job_id)

    def delete(self, job_id: str, owner: str) -> JobRecord:
        """Forget a job that has ended; the row as it was.

        Raises:
            UnknownJob, JobNotFinished.
        """
        with self._write():
            found = self.get(job_id, owner)
            if not found.finished:
                raise JobNotFinished(
                    f"job {job_id} has not ended: cancel it first, POST /v1/jobs/{job_id}/cancel"
                )
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            return found

    def expire(self) -> list[str]:
        """Forget the jobs whose time has come; their ids, whose folders are to be removed."""
        rows = self._db.execute(
            f"DELETE FROM jobs WHERE NOT ({UNFINISHED}) AND expires_at < ? RETURNING id", (self._clock(),)
        ).fetchall()
        return [row[0] for row in rows]

    def ids(self) -> set[str]:
        """Every job there is."""
        return {row[0] for row in self._db.execute("SELECT id FROM jobs")}

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def ahead(self, record: JobRecord) -> list[JobRecord]:
        """The jobs that run in this one's lane, then those that wait before it."""
        return self._all(
            "SELECT * FROM jobs WHERE lane = ? AND (state = 'running' OR (state = 'queued' AND seq < ?)) "
            "ORDER BY state DESC, seq",
            record.lane,
            record.seq,
        )

    def typical_s(self, kind: str) -> float | None:
        """Mean seconds of the last jobs of a kind; None before the first has ended well."""
        row = self._db.execute(
            "SELECT avg(spent) FROM (SELECT ended_at - started_at AS spent FROM jobs WHERE kind = ? "
            "AND state = 'succeeded' ORDER BY seq DESC LIMIT ?)",
            (kind, SUCCEEDED_FOR_ESTIMATES),
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def _refuse_when_full(self, num_bytes: int) -> None:
        waiting, held = self._db.execute(
            "SELECT coalesce(sum(state = 'queued'), 0), coalesce(sum(num_bytes), 0) FROM jobs"
        ).fetchone()
        if waiting >= self._max_waiting:
            raise QueueFull(
                f"{waiting} jobs wait, the most that this server takes: ask again in 60 s",
                details={"retry_after_s": 60},
            )
        if held + num_bytes > self._max_bytes:
            raise QueueFull(
                f"the files of all jobs take {held} bytes, up to {self._max_bytes} are kept: delete jobs that have "
                "ended (DELETE /v1/jobs/ID), or ask again later",
                details={"retry_after_s": 60},
            )

    @contextmanager
    def _write(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _one(self, query: str, *values: Any) -> JobRecord | None:  # what SQLite binds
        row = self._db.execute(query, values).fetchone()
        return None if row is None else JobRecord.of(row)

    def _all(self, query: str, *values: Any) -> list[JobRecord]:  # as above
        return [JobRecord.of(row) for row in self._db.execute(query, values)]
