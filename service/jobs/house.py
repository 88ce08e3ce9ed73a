"""All that is about jobs, as routes use it: take, show, cancel and delete them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.jobs.desk import Desk
from service.jobs.errors import JobsOff, NoResult, UnknownDataSet
from service.jobs.folders import JobFolders, write_whole
from service.jobs.kinds import KINDS
from service.jobs.record import NewJob, new_id
from service.jobs.runner import Limits, Runner
from service.jobs.store import JobStore
from service.jobs.surroundings import Surroundings
from service.jobs.views import answer_of, eta_of, position_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp

    from service.jobs.record import JobRecord, Json
    from service.registry import Registry
    from service.settings import Settings

DATABASE = "jobs.sqlite3"
KEY = "own.key"
PREFIX = {"job": "job", "evaluation": "eval"}
# Positions and estimates move while nothing happens to the job itself.
GLANCE_S = 2.0


class JobHouse:
    """The jobs of a service whose settings name a folder for them.

    Args:
        settings: with ``state``.
        registry: the models.
        is_ready: whether the models can be used.
        is_ending: whether the server is on its way out; it begins no job then.

    Raises:
        ValueError: the folder cannot be used; the sentence says why.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        is_ready: Callable[[], bool],
        is_ending: Callable[[], bool] = bool,
    ) -> None:
        root = Path(settings.state)
        try:
            (root / "servers").mkdir(parents=True, exist_ok=True)
            self.folders = JobFolders(root / "jobs")
            self.key = _own_key(root / KEY)
            store = JobStore(
                root / DATABASE, max_waiting=settings.job_queue, max_bytes=settings.job_disk_bytes
            )
        except OSError as error:
            raise ValueError(f"TESSERA_STATE={settings.state}: {error}") from None
        self.data = {name: Path(path) for name, path in settings.data_sets}
        self._root = root
        self._settings = settings
        self._registry = registry
        self._is_ready = is_ready
        self._is_ending = is_ending
        self._desk = Desk(store)
        self._port = settings.port
        self._limits = Limits(
            places={"requests": settings.job_places, "processes": settings.evaluation_places},
            lease_s=settings.job_lease_s,
            attempts=settings.job_attempts,
            timeout_s=settings.job_timeout_s,
            keep_s=settings.job_keep_s,
        )
        self._runner: Runner | None = None

    def is_own(self, key: bytes) -> bool:
        """Whether the server's own jobs carry this key; the time does not tell how far it matched."""
        return hmac.compare_digest(hashlib.sha256(key).digest(), hashlib.sha256(self.key.encode()).digest())

    @property
    def runner(self) -> Runner:
        """What runs the jobs, once it was started."""
        assert self._runner is not None  # the application starts it before it serves
        return self._runner

    def counts(self) -> dict[tuple[str, ...], float]:
        """Jobs by state, as of a second ago: for metrics."""
        return (
            {} if self._runner is None else {(state,): count for state, count in self._runner.counts.items()}
        )

    async def start(self, app: ASGIApp) -> None:
        """Take over what an earlier server left, and start to run jobs through ``app``."""
        around = Surroundings(
            app=app,
            registry=self._registry,
            data=self.data,
            url=self.url,
            key=self.key,
            has_keys=bool(self._settings.key_hashes or self._settings.keys_file),
            is_ready=lambda: self._is_ready() and not self._is_ending(),
            is_ending=self._is_ending,
        )
        self._runner = Runner(self._desk, self.folders, around, self._limits, self._root / "servers")
        await self._runner.start()

    async def stop(self) -> None:
        """End what runs, put it back into the line, close the store."""
        if self._runner is not None:
            await self._runner.stop()
        await self._desk.close()

    def url(self) -> str:
        """Where processes of this machine reach the server."""
        host = self._settings.host
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self._port}"

    def listens_on(self, port: int) -> None:
        """The port that the server was given, where the settings asked for any."""
        self._port = port

    async def submit(
        self, kind: str, owner: str, request: Json, *, body: bytes | None = None, key: str | None = None
    ) -> tuple[JobRecord, bool]:
        """(job, True), or (the job that the same request with the same key made before, False).

        Args:
            kind: a name of ``KINDS``.
            owner: hash of the caller's key.
            request: as the kind reads it.
            body: the bytes it is about.
            key: the caller's Idempotency-Key.

        Raises:
            IdempotencyConflict, QueueFull.
        """
        mark = await asyncio.to_thread(fingerprint, kind, request, body)
        if key is not None:
            found = await self._desk(lambda store: store.find_repeat(owner, key, mark))
            if found is not None:
                return found, False
        job_id = new_id(PREFIX[KINDS[kind].shape])
        new = NewJob(job_id, kind, KINDS[kind].lane, owner, request, mark, key, len(body or b""))
        await asyncio.to_thread(self.folders.create, job_id, body)
        try:
            record, created = await self._desk(lambda store: store.add(new))
        except BaseException:
            await asyncio.to_thread(self.folders.remove, job_id)
            raise
        if not created:
            await asyncio.to_thread(self.folders.remove, job_id)
        self.runner.wake(new.lane)
        return record, created

    async def get(self, job_id: str, owner: str) -> JobRecord:
        """A job of this owner.

        Raises:
            UnknownJob.
        """
        return await self._desk(lambda store: store.get(job_id, owner))

    async def page(self, owner: str, **which: object) -> list[JobRecord]:
        """Jobs of this owner; arguments as ``JobStore.page`` takes them."""
        return await self._desk(lambda store: store.page(owner, **which))  # type: ignore[arg-type]  # passed on

    async def cancel(self, job_id: str, owner: str) -> JobRecord:
        """Cancel a job, now or as soon as whoever runs it notices; one that has ended stays as it is.

        Raises:
            UnknownJob.
        """
        record = await self._desk(lambda store: store.ask_cancel(job_id, owner, keep_s=self._limits.keep_s))
        self.runner.cancel(job_id)
        self.runner.wake(record.lane)
        self.runner.tell(job_id)
        return record

    async def delete(self, job_id: str, owner: str) -> JobRecord:
        """Forget a job that has ended, and its files.

        Raises:
            UnknownJob, JobNotFinished.
        """
        record = await self._desk(lambda store: store.delete(job_id, owner))
        await asyncio.to_thread(self.folders.remove, job_id)
        return record

    async def show(self, record: JobRecord) -> dict[str, object]:
        """The job as answers show it, with its place in the line and its end as far as can be told."""
        news = self.runner.news
        ahead = [] if record.finished else await self._desk(lambda store: store.ahead(record))
        kinds = {record.kind, *(other.kind for other in ahead)}
        typical_s = await self._desk(lambda store: {kind: store.typical_s(kind) for kind in kinds})
        eta_s = eta_of(
            record,
            ahead,
            now=time.time(),
            typical_s=typical_s,
            news=news,
            places=self._limits.places[record.lane],
        )
        kind = KINDS.get(record.kind)  # none in the row of a newer server
        shown = answer_of(
            record,
            kind.shape if kind else "job",
            progress=news.get(record.id, record.progress),
            position=position_of(record, ahead),
            eta_s=eta_s,
        )
        if kind is None:
            return shown
        return shown | await asyncio.to_thread(kind.shown, record, self.folders.of(record.id))

    async def follow(self, job_id: str, owner: str) -> AsyncIterator[dict[str, object]]:
        """The job as it is now, then again whenever that changes, until it has ended or the server is about to.

        Raises:
            UnknownJob: also when it is deleted meanwhile.
        """
        event = self.runner.listen(job_id)
        try:
            last: dict[str, object] | None = None
            while True:
                event.clear()
                record = await self.get(job_id, owner)
                now = await self.show(record)
                if now != last:
                    yield now
                    last = now
                if record.finished or self._is_ending():
                    return
                try:
                    await asyncio.wait_for(event.wait(), GLANCE_S)
                except TimeoutError:
                    continue
        finally:
            self.runner.forget(job_id, event)

    def result_of(self, record: JobRecord) -> Path:
        """The file that a job left.

        Raises:
            NoResult: it has not ended, or not well.
        """
        if record.result is None:
            told = "has not ended: ask again when its status is completed"
            if record.finished:
                reason = f" ({record.error['message']})" if record.error else ""
                told = f"{record.state}{reason}: there is no result, send the request again if it is still wanted"
            raise NoResult(f"job {record.id} {told}", details={"job": record.id})
        return self.folders.of(record.id) / record.result.file

    def data_set(self, name: str) -> str:
        """The name, if it is one of the data sets.

        Raises:
            UnknownDataSet: listing those there are.
        """
        if name not in self.data:
            known = ", ".join(self.data) or "none: TESSERA_DATA=name=folder,... names some"
            raise UnknownDataSet(f"no data set {name[:64]!r}: use one of {known}", param="data")
        return name


def require(jobs: JobHouse | None) -> JobHouse:
    """The jobs of a service that has some.

    Raises:
        JobsOff.
    """
    if jobs is None:
        raise JobsOff("this server keeps no jobs: start it with TESSERA_STATE=FOLDER, as `make serve` does")
    return jobs


def fingerprint(kind: str, request: Json, body: bytes | None) -> str:
    """Equal for equal requests only: sha256 over the kind, the request and the body."""
    text = json.dumps([kind, request], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode() + b"\n" + (body or b"")).hexdigest()


def _own_key(path: Path) -> str:
    """The key that this server's jobs carry: made once, so that a run which outlives a server can go on."""
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32).encode())
        path.chmod(0o600)
    return path.read_text()
