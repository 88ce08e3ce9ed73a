"""The HTTP process's side of the workers: admission, hand-over, answers, death and restart. Imports no torch.

One worker process a device; jobs go to the one that will be free first. All state belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from service.engine.admission import JobQueue
from service.engine.keeper import AllLoaded, Keeper
from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    Failure,
    LoadModel,
    MemoryShort,
    ModelFailed,
    ModelLoaded,
    ModelUnloaded,
    Progress,
    Ready,
    StartFailed,
    UnloadModel,
)
from service.engine.replica import Closed, Replica
from service.errors import NotReady, RequestCancelled, ServiceError, TimedOut, WorkerDied
from service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.engine.messages import Job, Kind, ModelSource, Priority, WorkerSettings
    from service.settings import Settings

logger = logging.getLogger(__name__)

Reply = ModelLoaded | ModelUnloaded


class Engine:
    """Runs jobs in the worker processes.

    Args:
        settings: limits and timeouts.
        worker: what the workers load; each gets one of its devices.
        on_fatal: called on the loop with a sentence when a first start fails, so that the server can end.
        metrics: what is told of deaths, cancelled jobs, memory and models; its own without it.
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
        self._on_fatal = on_fatal
        devices = settings.device.split(",")
        self._replicas = [
            Replica(number, worker and replace(worker, device=device), self._on_message)
            for number, device in enumerate(devices)
        ]
        self._models = {(source.kind, source.name): source for source in (worker.models if worker else ())}
        self._queue = JobQueue(
            max_cost=settings.queue_pixels,
            max_jobs=settings.queue_requests,
            max_wait_s=settings.queue_s,
            board_jobs=2 * settings.max_batch,
            board_cost=max(2 * settings.batch_pixels, settings.max_pixels),
            boards=len(devices),
        )
        self._futures: dict[int, asyncio.Future[Answer]] = {}
        self._listeners: dict[int, Callable[[Progress], None]] = {}
        self._requests: dict[int, str] = {}
        self._at_gate: dict[int, asyncio.Timeout] = {}
        self.keeper: Keeper = AllLoaded()
        self._asked: dict[tuple[int, Kind, str], asyncio.Future[Reply]] = {}
        self._ids = itertools.count(1)
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    # What is known

    @property
    def status(self) -> Ready | None:
        """What a worker said when it was ready; None until all were once, and while none is."""
        if not all(replica.was_ready for replica in self._replicas):
            return None
        return next((replica.status for replica in self._replicas if replica.status is not None), None)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the first worker."""
        return self._replicas[0].pid

    @property
    def cost(self) -> int:
        """Pixels that wait or run."""
        return self._queue.cost

    @property
    def depth(self) -> tuple[int, int]:
        """Jobs that wait here, and jobs that the workers have."""
        return self._queue.waiting, len(self._queue.on_board)

    @property
    def pulse_age_s(self) -> float | None:
        """Seconds since the last sign of life of the worker that is silent for longest; None while all load."""
        pulses = [replica.pulse[0] for replica in self._replicas if replica.pulse is not None]
        return time.monotonic() - min(pulses) if pulses else None

    @property
    def device_memory(self) -> dict[str, int]:
        """Bytes of the workers' devices by kind, as of their last signs of life."""
        total: Counter[str] = Counter()
        for replica in self._replicas:
            if replica.pulse is not None:
                total.update(replica.pulse[1].device_memory)
        return dict(total)

    def wait_s(self, priority: Priority = "interactive") -> float:
        """Predicted wait of a job that would be submitted now."""
        return self._queue.wait_s(priority)

    def next_id(self) -> int:
        """A fresh id for a job."""
        return next(self._ids)

    def require_ready(self) -> None:
        """Raise NotReady while the models load, so that callers need not send a body in vain."""
        if self.status is None or self._stopping:
            raise NotReady(
                "the models are loading: ask again in a few seconds, GET /health/ready tells when",
                details={"retry_after_s": 5},
            )

    # Life

    async def start(self) -> None:
        """Start the worker processes and return at once; ``status`` tells when one is ready."""
        await asyncio.gather(*(replica.launch(tuple(self._models.values())) for replica in self._replicas))
        self._background(self._watch())

    async def stop(self) -> None:
        """Let the jobs on board finish, refuse the rest, end the workers."""
        self._stopping = True
        for job_id in [one for one in self._futures if one in self._at_gate or self._queue.withdraw(one)]:
            self._fail(
                job_id, NotReady("the server is shutting down: ask again", details={"retry_after_s": 10})
            )
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while self._futures and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(replica.stop() for replica in self._replicas))

    # Jobs

    async def submit(self, job: Job, *, on_progress: Callable[[Progress], None] | None = None) -> Answer:
        """Run a job; cancelling the caller drops it within one step or batch.

        Args:
            job: with an id from ``next_id``.
            on_progress: called on the loop with every Progress of the job, if it asks for any.

        Raises:
            QueueFull, NotReady, WorkerDied, TimedOut, RequestCancelled, what the gate or the worker says.
        """
        self.require_ready()
        timeout_s = job.timeout_s or self._settings.request_timeout_s
        if job.deadline is not None:
            timeout_s = min(timeout_s, job.deadline - time.monotonic())
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures[job.id] = future
        self._requests[job.id] = job.request_id
        if on_progress is not None:
            self._listeners[job.id] = on_progress
        try:
            async with asyncio.timeout(timeout_s) as limit:
                self._at_gate[job.id] = limit
                async with self.keeper.gate(job):
                    del self._at_gate[job.id]
                    self._queue.put(job)
                    self._dispatch()
                    return await future
        except TimeoutError:
            if future.done() and not future.cancelled():  # it was ended while it waited for its model
                return future.result()
            raise TimedOut(
                f"no answer within {max(0.0, timeout_s):.3g} s: ask for fewer images or steps or a smaller picture, "
                "or ask again when the server is less busy",
                details={"retry_after_s": max(1.0, self.wait_s(job.priority))},
            ) from None
        finally:
            del self._futures[job.id], self._requests[job.id]
            self._listeners.pop(job.id, None)
            self._at_gate.pop(job.id, None)
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
            return
        for replica, board in zip(self._replicas, self._queue.boards, strict=True):
            if job_id in board.jobs:
                self._metrics.cancelled("running")
                replica.send(Cancel(job_id))

    def _dispatch(self) -> None:
        idle = [not board.jobs for board in self._queue.boards]
        for number, job in self._queue.board():
            self._replicas[number].send(job)
            if idle[number]:  # silence counts from here
                self._replicas[number].heard_at = time.monotonic()

    # Models

    async def load(self, source: ModelSource) -> ModelLoaded:
        """Load a model in every worker, beside those that are there; it is served when this returns.

        Raises:
            NotReady, WorkerDied, or what the worker answers; then no worker serves it.
        """
        self.require_ready()
        ready = [replica for replica in self._replicas if replica.status is not None]
        replies = await asyncio.gather(
            *(self._ask(replica, LoadModel(source), source.kind, source.name) for replica in ready),
            return_exceptions=True,
        )
        for problem in replies:
            if isinstance(problem, BaseException):
                for replica, reply in zip(ready, replies, strict=True):
                    if isinstance(reply, ModelLoaded):
                        replica.send(UnloadModel(source.kind, source.name))
                raise problem
        self._models[source.kind, source.name] = source
        loaded = max(
            (reply for reply in replies if isinstance(reply, ModelLoaded)), key=lambda one: one.seconds
        )
        self._tell_loaded(loaded)
        return loaded

    async def unload(self, kind: Kind, name: str) -> None:
        """Forget a model in every worker, once the jobs that use it are done; its callers stop first.

        Raises:
            WorkerDied, or what the worker answers.
        """
        while self._queue.uses(name):
            await asyncio.sleep(0.02)
        self._models.pop((kind, name), None)
        ready = [replica for replica in self._replicas if replica.status is not None]
        await asyncio.gather(*(self._ask(replica, UnloadModel(kind, name), kind, name) for replica in ready))
        self._metrics.model_unloaded(kind, name)

    async def _ask(self, replica: Replica, message: LoadModel | UnloadModel, kind: Kind, name: str) -> Reply:
        key = (replica.number, kind, name)
        while key in self._asked:  # one thing at a time with a model
            await asyncio.wait([self._asked[key]])
        self._asked[key] = asyncio.get_running_loop().create_future()
        replica.send(message)
        try:
            return await self._asked[key]
        finally:
            del self._asked[key]

    def _replied(self, replica: Replica, message: ModelLoaded | ModelUnloaded | ModelFailed) -> None:
        future = self._asked.get((replica.number, message.kind, message.name))
        if future is None or future.done():
            return
        if isinstance(message, ModelFailed):
            future.set_exception(message.error)
        else:
            future.set_result(message)

    def _tell_loaded(self, loaded: ModelLoaded) -> None:
        self.keeper.told(loaded)
        self._metrics.model_loaded(
            loaded.kind, loaded.name, memory_bytes=loaded.memory_bytes, seconds=loaded.seconds
        )

    # Messages

    def _on_message(self, replica: Replica, message: object) -> None:
        if isinstance(message, Answer):
            self._queue.done(message.id, message.core_seconds)
            future = self._futures.get(message.id)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, Failure):
            self._queue.done(message.id)
            self._fail(message.id, message.error)
        elif isinstance(message, Progress):
            listener = self._listeners.get(message.id)
            if listener is not None:
                listener(message)
        elif isinstance(message, Dropped):
            self._queue.done(message.id)
        elif isinstance(message, MemoryShort):
            self._metrics.out_of_memory()
        elif isinstance(message, ModelLoaded | ModelUnloaded | ModelFailed):
            self._replied(replica, message)
        elif isinstance(message, Ready):
            self._on_ready(replica, message)
        elif isinstance(message, StartFailed):
            logger.error("worker cannot start: %s", message.reason)
            if not replica.was_ready:
                self._stopping = True
                self._on_fatal(message.reason)
            else:  # one model is enough to fail: the next worker starts with none, and each fails or not by itself
                self._models.clear()
                self.keeper.lost()
        elif isinstance(message, Closed):
            self._background(self._on_death(replica))
        self._dispatch()

    def _on_ready(self, replica: Replica, message: Ready) -> None:
        replica.status, replica.was_ready, replica.failures = message, True, 0
        self._queue.boards[replica.number].open = True
        self._queue.rates.learn(message.seconds_per_cost)
        has = {(loaded.kind, loaded.name) for loaded in message.loaded}
        for loaded in message.loaded:
            self._tell_loaded(loaded)
        if message.loaded:  # what changed while it started
            for key in self._models.keys() - has:
                replica.send(LoadModel(self._models[key]))
            for kind, name in has - self._models.keys():
                replica.send(UnloadModel(kind, name))
        logger.info("worker %s ready on %s in %s", replica.pid, message.device, message.dtype)

    async def _on_death(self, replica: Replica) -> None:
        """Answer those on its board, keep those who wait, start another worker."""
        board = self._queue.boards[replica.number]
        board.open, replica.status = False, None
        lost = tuple(board.jobs)
        death = WorkerDied(
            "the worker process ended while it had this request, a new one is starting: ask again",
            details={"retry_after_s": 10},
        )
        for job_id in lost:
            self._queue.done(job_id)
            self._fail(job_id, death)
        for (number, _, _), future in self._asked.items():
            if number == replica.number and not future.done():
                future.set_exception(death)
        self._dispatch()
        end = await replica.bury()
        if self._stopping:
            return
        self._metrics.worker_died()
        delay = replica.next_delay_s()
        logger.error("worker ended (%s), %d requests lost, next start in %.1f s", end, len(lost), delay)
        await asyncio.sleep(delay)
        if not self._stopping:
            await replica.launch(tuple(self._models.values()))

    async def _watch(self) -> None:
        """Kill a worker that hangs; its end is then noticed like any other."""
        while True:
            await asyncio.sleep(1.0)
            for replica, board in zip(self._replicas, self._queue.boards, strict=True):
                silent = time.monotonic() - replica.heard_at
                loading = replica.status is None and silent > self._settings.start_timeout_s
                stalled = bool(board.jobs) and silent > self._settings.stall_timeout_s
                if loading or stalled:
                    replica.kill_if_alive(f"says nothing for {silent:.0f} s")

    def _fail(self, job_id: int, error: ServiceError) -> None:
        future = self._futures.get(job_id)
        if future is not None and not future.done():
            future.set_exception(error)
        if job_id in self._at_gate:  # nobody looks at the future there
            self._at_gate[job_id].reschedule(asyncio.get_running_loop().time())

    def _background(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
