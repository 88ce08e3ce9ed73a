"""Claims jobs and runs them: so many of a lane at once, each under a lease that is renewed while it runs.

Whatever ends this process, the rows tell the next one what to do: its jobs go back into the line as soon as its lock
is free (``tokenizer.core.locks``), or when their leases run out.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from service.errors import InternalError, ServiceError
from service.jobs.kind import Again, Refused, Run
from service.jobs.kinds import KINDS
from service.jobs.record import Progress
from tokenizer.core import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.jobs.desk import Desk
    from service.jobs.folders import JobFolders
    from service.jobs.record import JobRecord, Json, Lane, Result, State
    from service.jobs.store import JobStore
    from service.jobs.surroundings import Surroundings

logger = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_S = 2.0
FLUSH_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How jobs are run.

    Attributes:
        places: jobs of a lane that run at once.
        lease_s: a server that says nothing for so long has lost its jobs.
        attempts: times that a job may be interrupted before it is given up.
        timeout_s: longest run of one job.
        keep_s: how long jobs that have ended are kept.
    """

    places: Mapping[Lane, int]
    lease_s: float
    attempts: int
    timeout_s: float
    keep_s: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: in a state, or back in the line."""

    state: State
    result: Result | None = None
    error: Json | None = None
    after_s: float = 0.0
    interrupted: bool = False


class Runner:
    """The jobs of one server process.

    Args:
        desk: the store.
        folders: of the jobs.
        around: what jobs are given.
        limits: how many, how long.
        servers: folder with one lock a server process.
    """

    def __init__(
        self, desk: Desk, folders: JobFolders, around: Surroundings, limits: Limits, servers: Path
    ) -> None:
        self._desk = desk
        self._folders = folders
        self._around = around
        self._limits = limits
        self._servers = servers
        self._name = uuid.uuid4().hex
        self._tasks: list[asyncio.Task[None]] = []
        self._running: dict[str, asyncio.Task[Ending]] = {}
        self._cancelled: set[str] = set()
        self._news: dict[str, Progress] = {}
        self._unsaved: set[str] = set()
        self._wake = {lane: asyncio.Event() for lane in limits.places}
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._lock: int | None = None
        self.counts: dict[str, int] = {}

    @property
    def news(self) -> Mapping[str, Progress]:
        """Progress of the jobs that run here, by id."""
        return self._news

    async def start(self) -> None:
        """Take over what dead servers left and start to run."""
        self._lock = locks.take(self._servers / self._name)
        await self._recover()
        await self._sweep()
        for lane, places in self._limits.places.items():
            self._tasks += [asyncio.create_task(self._work(lane)) for _ in range(places)]
        self._tasks += [asyncio.create_task(self._keep()), asyncio.create_task(self._flush())]

    async def stop(self) -> None:
        """End what runs and put it back into the line, for the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for record in await self._desk(lambda store: store.renew(self._name, self._limits.lease_s)):
            await self._desk(partial(_put_back, record.id, self._name))
        (self._servers / self._name).unlink(missing_ok=True)
        if self._lock is not None:
            locks.release(self._lock)

    def wake(self, lane: Lane) -> None:
        """A job of this lane waits."""
        self._wake[lane].set()

    def cancel(self, job_id: str) -> None:
        """End a job if it runs here; its row says already that this is wanted."""
        task = self._running.get(job_id)
        if task is not None and job_id not in self._cancelled:
            self._cancelled.add(job_id)
            task.cancel()

    def listen(self, job_id: str) -> asyncio.Event:
        """An event that is set with every news of a job; give it back to ``forget``."""
        event = asyncio.Event()
        self._listeners.setdefault(job_id, set()).add(event)
        return event

    def forget(self, job_id: str, event: asyncio.Event) -> None:
        """Nobody waits for the event any more."""
        listeners = self._listeners.get(job_id, set())
        listeners.discard(event)
        if not listeners:
            self._listeners.pop(job_id, None)

    def tell(self, job_id: str) -> None:
        """Wake those who listen to a job."""
        for event in self._listeners.get(job_id, ()):
            event.set()

    async def _work(self, lane: Lane) -> None:
        """One place of a lane: the oldest job that waits, then the next."""
        while True:
            self._wake[lane].clear()
            record = None
            if not self._around.is_ending() and (lane != "requests" or self._around.is_ready()):
                record = await self._sure(lambda store: store.claim(lane, self._name, self._limits.lease_s))
            if record is not None:
                await self._one(record)
                continue
            try:  # a job that was put back, or another server's, is found after a while
                await asyncio.wait_for(self._wake[lane].wait(), IDLE_S)
            except TimeoutError:
                continue

    async def _one(self, record: JobRecord) -> None:
        self.tell(record.id)
        task = asyncio.create_task(self._outcome(record))
        self._running[record.id] = task
        try:
            ending = await task
        except asyncio.CancelledError:
            if record.id not in self._cancelled:  # the server ends: stop() puts the job back
                raise
            ending = Ending("cancelled")
        finally:
            del self._running[record.id]
            self._cancelled.discard(record.id)
            self._unsaved.discard(record.id)
        await self._end(record, ending)
        self._news.pop(record.id, None)
        self.tell(record.id)

    async def _outcome(self, record: JobRecord) -> Ending:
        """Run a job to its end."""

        def report(progress: Progress) -> None:
            self._news[record.id] = progress
            self._unsaved.add(record.id)
            self.tell(record.id)

        kind = KINDS.get(record.kind)
        if kind is None:
            message = (
                f"this server knows no jobs of kind {record.kind!r}: it is older than the one that took it"
            )
            return Ending("failed", error={"code": "unknown_kind", "message": message})
        run = Run(record, self._folders.of(record.id), self._around, report)
        if record.cancel_asked:
            await kind.discard(run)
            return Ending("cancelled")
        if record.interruptions >= self._limits.attempts:
            await kind.discard(run)
            message = (
                f"the server or its worker died {record.interruptions} times while this job ran: see its log"
            )
            return Ending("failed", error={"code": "interrupted", "message": message})
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return Ending("succeeded", result=await kind.run(run))
        except Again as again:
            return Ending("queued", after_s=again.after_s, interrupted=again.interrupted)
        except Refused as refused:
            return Ending("failed", error=refused.error)
        except ServiceError as error:
            return Ending("failed", error=_told(error))
        except TimeoutError:
            message = f"the job did not end within {self._limits.timeout_s:g} s (TESSERA_JOB_TIMEOUT_S): ask for less"
            return Ending("failed", error={"code": "timed_out", "message": message})
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            logger.error("incident %s in job %s", incident, record.id, exc_info=error)
            message = f"the server failed on this job; its log has the reason under incident {incident}"
            return Ending("failed", error=_told(InternalError(message, details={"incident": incident})))

    async def _end(self, record: JobRecord, ending: Ending) -> None:
        if ending.state == "queued":
            await self._sure(
                lambda store: store.release(
                    record.id, self._name, after_s=ending.after_s, interrupted=ending.interrupted
                )
            )
            return

        def finish(store: JobStore) -> bool:
            if (last := self._news.get(record.id)) is not None:
                store.progress(record.id, self._name, last)
            return store.finish(
                record.id,
                self._name,
                ending.state,
                keep_s=self._limits.keep_s,
                result=ending.result,
                error=ending.error,
            )

        kept = await self._sure(finish)
        logger.info(
            "job %s (%s) %s%s",
            record.id,
            record.kind,
            ending.state,
            "" if kept else ", but not ours any more",
        )

    async def _keep(self) -> None:
        """Renew leases, notice what other servers asked for or left, forget what has expired."""
        while True:
            await asyncio.sleep(self._limits.lease_s / 3)
            rows = await self._sure(lambda store: store.renew(self._name, self._limits.lease_s))
            held = {record.id: record for record in rows}
            for job_id in list(self._running):
                if job_id not in held or held[job_id].cancel_asked:  # lost, or to be cancelled
                    self.cancel(job_id)
            await self._recover()
            await self._sweep()

    async def _recover(self) -> None:
        dead = [
            name
            for name in await self._sure(lambda store: store.servers())
            if name != self._name and not locks.is_held(self._servers / name)
        ]
        for job_id in await self._sure(lambda store: store.recover(dead)):
            logger.warning("job %s was left by a server that ended: it is back in the line", job_id)
        for name in dead:
            (self._servers / name).unlink(missing_ok=True)
        for lane in self._limits.places:
            self.wake(lane)

    async def _sweep(self) -> None:
        for job_id in await self._sure(lambda store: store.expire()):
            await asyncio.to_thread(self._folders.remove, job_id)
        known = await self._sure(lambda store: store.ids())
        await asyncio.to_thread(self._folders.sweep, known)

    async def _flush(self) -> None:
        """Write the latest progress into the rows, and count them."""
        while True:
            self.counts = await self._sure(lambda store: store.counts())
            await asyncio.sleep(FLUSH_S)
            for job_id in list(self._unsaved):
                self._unsaved.discard(job_id)
                news = self._news.get(job_id)
                if news is not None:
                    await self._sure(partial(_note, job_id, self._name, news))

    async def _sure(self, work: Callable[[JobStore], T]) -> T:
        """Ask the store until it answers: a full or slow disk delays jobs, and loses none."""
        while True:
            try:
                return await self._desk(work)
            except sqlite3.OperationalError as error:
                logger.error("the job store in TESSERA_STATE cannot be used (%s): trying again", error)
                await asyncio.sleep(IDLE_S)


def _put_back(job_id: str, server: str, store: JobStore) -> bool:
    return store.release(job_id, server)


def _note(job_id: str, server: str, news: Progress, store: JobStore) -> None:
    store.progress(job_id, server, news)


def _told(error: ServiceError) -> Json:
    told = error.to_json()["error"]
    assert isinstance(told, dict)  # the one shape of errors
    return told
