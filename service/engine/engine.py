"""The HTTP process's side of the worker: admission, hand-over, answers, death and restart. Imports no torch.

Two threads a worker (one sends, one receives) keep pipes off the event loop; every other state belongs to the
loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING

from service.engine.admission import JobQueue
from service.engine.launch import WorkerHandle, spawn
from service.engine.messages import Answer, Cancel, Dropped, Failure, Progress, Ready, StartFailed, Stop
from service.engine.vitals import Vitals
from service.errors import NotReady, OutOfMemory, RequestCancelled, ServiceError, TimedOut, WorkerDied
from service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.messages import Job, WorkerSettings
    from service.settings import Settings

logger = logging.getLogger(__name__)

MAX_RESTART_DELAY_S = 30.0
CLOSED = object()


class Engine:
    """Runs jobs in the worker process.

    Args:
        settings: limits and timeouts.
        worker: what the worker loads.
        on_fatal: called on the loop with a sentence when the first start fails, so that the server can end.
        metrics: what is told of deaths, cancelled jobs and memory; its own without it.
    """

    def __init__(
        self,
        settings: Settings,
        worker: WorkerSettings,
        on_fatal: Callable[[str], None],
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._worker = worker
        self._on_fatal = on_fatal
        self._queue = JobQueue(
            max_cost=settings.queue_pixels,
            max_jobs=settings.queue_requests,
            board_jobs=2 * settings.max_batch,
            board_cost=max(2 * settings.batch_pixels, settings.max_pixels),
        )
        self._futures: dict[int, asyncio.Future[Answer]] = {}
        self._listeners: dict[int, Callable[[Progress], None]] = {}
        self._requests: dict[int, str] = {}
        self._ids = itertools.count(1)
        self._handle: WorkerHandle | None = None
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._status: Ready | None = None
        self._was_ready = False
        self._stopping = False
        self._failures = 0
        self._heard_at = 0.0
        self._pulse: tuple[float, Vitals] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def status(self) -> Ready | None:
        """What the worker said when it was ready; None while it is not."""
        return self._status

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker."""
        return self._handle.process.pid if self._handle else None

    @property
    def cost(self) -> int:
        """Pixels that wait or run."""
        return self._queue.cost

    @property
    def depth(self) -> tuple[int, int]:
        """Jobs that wait here, and jobs that the worker has."""
        return self._queue.waiting, len(self._queue.on_board)

    @property
    def pulse_age_s(self) -> float | None:
        """Seconds since the worker's last sign of life; None while it loads."""
        return None if self._pulse is None else time.monotonic() - self._pulse[0]

    @property
    def device_memory(self) -> dict[str, int]:
        """Bytes of the worker's device by kind, as of its last sign of life."""
        return {} if self._pulse is None else self._pulse[1].device_memory

    def next_id(self) -> int:
        """A fresh id for a job."""
        return next(self._ids)

    def require_ready(self) -> None:
        """Raise NotReady while the models load, so that callers need not send a body in vain."""
        if self._status is None or self._stopping:
            raise NotReady(
                "the models are loading: ask again in a few seconds, GET /health/ready tells when",
                details={"retry_after_s": 5},
            )

    async def start(self) -> None:
        """Start the worker process and return at once; ``status`` tells when it is ready."""
        await self._launch()
        self._background(self._watch())

    async def stop(self) -> None:
        """Let the jobs on board finish, refuse the rest, end the worker."""
        self._stopping = True
        for job_id in [job_id for job_id in self._futures if self._queue.withdraw(job_id)]:
            self._fail(
                job_id, NotReady("the server is shutting down: ask again", details={"retry_after_s": 10})
            )
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while self._futures and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        if self._handle is not None:
            self._outbox.put(Stop())
            await asyncio.to_thread(self._handle.process.join, 5)
            await asyncio.to_thread(self._handle.kill)
            self._outbox.put(CLOSED)

    async def submit(self, job: Job, *, on_progress: Callable[[Progress], None] | None = None) -> Answer:
        """Run a job; cancelling the caller drops it within one step or batch.

        Args:
            job: with an id from ``next_id``.
            on_progress: called on the loop with every Progress of the job, if it asks for any.

        Raises:
            QueueFull, NotReady, WorkerDied, TimedOut, RequestCancelled, or what the worker answers.
        """
        self.require_ready()
        self._queue.put(job)
        timeout_s = job.timeout_s or self._settings.request_timeout_s
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures[job.id] = future
        self._requests[job.id] = job.request_id
        if on_progress is not None:
            self._listeners[job.id] = on_progress
        self._dispatch()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise TimedOut(
                f"no answer within {timeout_s:g} s: ask for fewer images or steps or "
                "a smaller "
                "picture, or ask again when the server is less busy",
                details={"retry_after_s": 30},
            ) from None
        finally:
            del self._futures[job.id], self._requests[job.id]
            self._listeners.pop(job.id, None)
            if not future.done() or future.cancelled():
                self._give_up(job.id)

    def cancel(self, request_id: str) -> bool:
        """End every job of this request, waiting or running; callers get RequestCancelled. False if there is none."""
        jobs = [job_id for job_id, owner in self._requests.items() if owner and owner == request_id]
        for job_id in jobs:
            self._fail(
                job_id, RequestCancelled("the request was cancelled: send it again if it is still wanted")
            )
            self._give_up(job_id)
        return bool(jobs)

    def _give_up(self, job_id: int) -> None:
        if self._queue.withdraw(job_id):
            self._metrics.cancelled("waiting")
        elif job_id in self._queue.on_board:
            self._metrics.cancelled("running")
            self._outbox.put(Cancel(job_id))

    def _dispatch(self) -> None:
        if self._status is None:
            return
        idle = not self._queue.on_board
        for job in self._queue.board():
            self._outbox.put(job)
            if idle:  # silence counts from here
                self._heard_at = time.monotonic()

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        self._outbox = queue.SimpleQueue()
        self._handle = await asyncio.to_thread(spawn, self._worker)
        self._heard_at = time.monotonic()
        for target, name in ((_send, "tessera-send"), (_receive, "tessera-receive")):
            arguments = (self._handle, self._outbox) if target is _send else (self._handle, self._from(loop))
            threading.Thread(target=target, args=arguments, name=name, daemon=True).start()

    def _from(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        handle = self._handle

        def deliver(message: object) -> None:
            try:
                loop.call_soon_threadsafe(self._on_message, handle, message)
            except RuntimeError:  # the loop has ended, and with it everyone who waited
                logger.debug("message after the end: %s", type(message).__name__)

        return deliver

    def _on_message(self, handle: WorkerHandle | None, message: object) -> None:
        if handle is not self._handle:  # the last words of a worker that was replaced
            return
        if isinstance(message, Vitals):  # the process lives; whether its jobs get on, others tell
            self._pulse = time.monotonic(), message
            return
        self._heard_at = time.monotonic()
        if isinstance(message, Answer):
            self._queue.done(message.id, message.timings_ms.get("core", 0.0) / 1000 / message.batch_size)
            future = self._futures.get(message.id)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, Failure):
            self._queue.done(message.id)
            if isinstance(message.error, OutOfMemory):
                self._metrics.out_of_memory()
            self._fail(message.id, message.error)
        elif isinstance(message, Progress):
            listener = self._listeners.get(message.id)
            if listener is not None:
                listener(message)
        elif isinstance(message, Dropped):
            self._queue.done(message.id)
        elif isinstance(message, Ready):
            self._status, self._was_ready, self._failures = message, True, 0
            logger.info("worker %s ready on %s in %s", self.worker_pid, message.device, message.dtype)
        elif isinstance(message, StartFailed):
            logger.error("worker cannot start: %s", message.reason)
            if not self._was_ready:
                self._stopping = True
                self._on_fatal(message.reason)
        elif message is CLOSED:
            self._background(self._on_death())
        self._dispatch()

    async def _on_death(self) -> None:
        """Answer those on board, keep those who wait, start another worker."""
        self._status = self._pulse = None
        lost = self._queue.on_board
        for job_id in lost:
            self._queue.done(job_id)
            self._fail(
                job_id,
                WorkerDied(
                    "the worker process ended while it had this request, a new one is starting: ask again",
                    details={"retry_after_s": 10},
                ),
            )
        self._outbox.put(CLOSED)
        if self._stopping or self._handle is None:
            return
        self._metrics.worker_died()
        end = await asyncio.to_thread(self._handle.describe_end)
        await asyncio.to_thread(self._handle.kill)
        delay = min(MAX_RESTART_DELAY_S, 0.5 * 2**self._failures) if self._failures else 0.0
        self._failures += 1
        logger.error("worker ended (%s), %d requests lost, next start in %.1f s", end, len(lost), delay)
        await asyncio.sleep(delay)
        if not self._stopping:
            await self._launch()

    async def _watch(self) -> None:
        """Kill a worker that hangs; its end is then noticed like any other."""
        while True:
            await asyncio.sleep(1.0)
            silent = time.monotonic() - self._heard_at
            loading = self._status is None and silent > self._settings.start_timeout_s
            stalled = bool(self._queue.on_board) and silent > self._settings.stall_timeout_s
            if (loading or stalled) and self._handle is not None and self._handle.process.is_alive():
                logger.error("worker %s says nothing for %.0f s: it is killed", self.worker_pid, silent)
                self._handle.process.kill()

    def _fail(self, job_id: int, error: ServiceError) -> None:
        future = self._futures.get(job_id)
        if future is not None and not future.done():
            future.set_exception(error)

    def _background(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _send(handle: WorkerHandle, outbox: queue.SimpleQueue[object]) -> None:
    """Ends last, when the receiving thread has seen the end, and closes the pipe."""
    while (message := outbox.get()) is not CLOSED:
        try:
            handle.connection.send(message)
        except OSError:  # the worker is gone; the receiving thread tells
            continue
        except Exception:  # a message that cannot be sent would leave its caller waiting for ever
            logger.exception("%s cannot be sent: the worker is restarted", type(message).__name__)
            handle.process.kill()
    handle.connection.close()


def _receive(handle: WorkerHandle, deliver: Callable[[object], None]) -> None:
    while True:
        try:
            message = handle.connection.recv()
        except (EOFError, OSError):
            deliver(CLOSED)
            return
        deliver(message)
