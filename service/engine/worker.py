"""The worker process: three overlapping stages around the models.

before (threads: decode pictures, pin) -> ready jobs -> core (one thread: the network) -> after (threads: copy
to the host, encode). Every job is answered by exactly one message. Whatever goes wrong with a job answers
that job alone.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from service import logs
from service.engine import operations
from service.engine.batching import Prepared, ReadyJobs
from service.engine.messages import Cancel, Dropped, Failure, Job, Ready, StartFailed, Stop
from service.engine.models import Models, load, warm_up
from service.engine.operations.base import Pass
from service.engine.vitals import start_pulse
from service.errors import InternalError, OutOfMemory, ServiceError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from service.engine.messages import Answer, WorkerSettings
    from service.engine.operations.base import Operation

logger = logging.getLogger(__name__)

BROKEN_DEVICE_EXIT_CODE = 70


@dataclass(slots=True)
class Task:
    """A job inside the worker: its operation, what the stages made of it so far, and when."""

    job: Job
    operation: Operation[Any, Any]  # each operation knows its own payload
    payload: Any = None
    result: Any = None
    batch_size: int = 1
    marks: dict[str, float] = field(default_factory=dict)

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage; waiting for a stage counts as queue."""
        spent = {
            stage: 1000 * (self.marks[f"{stage}_end"] - self.marks[f"{stage}_start"])
            for stage in ("before", "core", "after")
        }
        total = 1000 * (self.marks["after_end"] - self.job.submitted_at)
        return {"queue": max(0.0, total - sum(spent.values())), **spent}


class Worker:
    """The stages.

    Args:
        connection: to the HTTP process.
        models: loaded.
    """

    def __init__(self, connection: Connection, models: Models) -> None:
        self._connection = connection
        self._operations = operations.build(models)
        settings = models.settings
        self._device = models.device
        self._ready: ReadyJobs[Task] = ReadyJobs(max_batch=settings.max_batch, max_cost=settings.batch_pixels)
        self._before = ThreadPoolExecutor(settings.before_threads, "before")
        self._after = ThreadPoolExecutor(settings.after_threads, "after")
        # Results on the device: the network waits when encoding falls behind.
        self._results = threading.BoundedSemaphore(2 * settings.max_batch)
        self._core = threading.Thread(target=self._run_core, name="core")
        self._send_lock = threading.Lock()
        self._lock = threading.Lock()
        self._preparing: set[int] = set()
        self._cancelled: set[int] = set()

    @property
    def num_ready(self) -> int:
        """Jobs that are prepared and wait for the network."""
        return len(self._ready)

    def beat(self) -> None:
        """Show signs of life from now on."""
        start_pulse(self._send, self._device.type)

    def serve(self) -> None:
        """Take messages until Stop or until the other process is gone."""
        self._core.start()
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):  # the server is gone: nobody can be answered
                os._exit(0)
            if isinstance(message, Stop):
                break
            if isinstance(message, Cancel):
                self._cancel(message.id)
            else:
                with self._lock:
                    self._preparing.add(message.id)
                self._before.submit(
                    self._guard, Task(message, self._operations[type(message)]), self._prepare
                )
        self._before.shutdown()
        self._ready.close()
        self._core.join()
        self._after.shutdown()

    def _cancel(self, job_id: int) -> None:
        with self._lock:
            if self._ready.drop(job_id):
                self._send(Dropped(job_id))
            elif job_id in self._preparing:
                self._cancelled.add(job_id)

    def _prepare(self, task: Task) -> None:
        task.marks["before_start"] = time.monotonic()
        if task.job.id not in self._cancelled:
            try:
                prepared = task.operation.before(task.job)
            except BaseException:
                with self._lock:
                    self._preparing.discard(task.job.id)
                    self._cancelled.discard(task.job.id)
                raise
        with self._lock:
            self._preparing.discard(task.job.id)
            if task.job.id in self._cancelled:
                self._cancelled.discard(task.job.id)
                self._send(Dropped(task.job.id))
                return
            task.payload = prepared.payload
            task.marks["before_end"] = time.monotonic()
            self._ready.put(Prepared(prepared.id, prepared.key, prepared.cost, task))

    def _run_core(self) -> None:
        while (batch := self._ready.take()) is not None:
            tasks = [prepared.payload for prepared in batch]
            try:
                self._compute(tasks)
            except BaseException as error:
                _end_if_broken(error)
                if len(tasks) == 1:
                    self._fail(tasks[0], error)
                    continue
                logger.warning("a batch of %d failed (%s): one by one", len(tasks), type(error).__name__)
                for task in tasks:
                    self._guard(task, self._compute_alone)

    def _compute_alone(self, task: Task) -> None:
        self._compute([task])

    def _compute(self, tasks: list[Task]) -> None:
        logger.debug("pass of %d: %s", len(tasks), type(tasks[0].job).__name__)
        started = time.monotonic()
        with torch.inference_mode():
            results = tasks[0].operation.core([task.payload for task in tasks], Pass(len(tasks)))
        if (
            self._device.type == "cuda"
        ):  # errors of the device surface here, and what queues meanwhile is one batch
            torch.cuda.current_stream(self._device).synchronize()
        ended = time.monotonic()
        for task, result in zip(tasks, results, strict=True):
            task.result, task.batch_size = result, len(tasks)
            task.marks |= {"core_start": started, "core_end": ended}
            self._results.acquire()
            self._after.submit(self._guard, task, self._finish)

    def _finish(self, task: Task) -> None:
        try:
            task.marks["after_start"] = time.monotonic()
            with torch.inference_mode():
                answer: Answer = task.operation.after(task.job, task.payload, task.result)
            task.result = None
            task.marks["after_end"] = time.monotonic()
        finally:
            self._results.release()
        self._send(replace(answer, batch_size=task.batch_size, timings_ms=task.timings_ms()))

    def _guard(self, task: Task, stage: Any) -> None:  # Callable[[Task], None]; Any keeps executors happy
        try:
            stage(task)
        except BaseException as error:
            _end_if_broken(error)
            self._fail(task, error)

    def _fail(self, task: Task, error: BaseException) -> None:
        self._send(Failure(task.job.id, to_service_error(error, type(task.job).__name__)))

    def _send(self, message: object) -> None:
        try:
            with self._send_lock:
                self._connection.send(message)
        except OSError:  # the server is gone; serve() ends the process
            logger.debug("nobody hears %s", type(message).__name__)


def to_service_error(error: BaseException, what: str) -> ServiceError:
    """What the caller is told; what is not meant for callers is logged, named by an incident."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return OutOfMemory(
            "the device has not enough memory for this request: send a smaller picture or ask for fewer"
        )
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s in %s", incident, what, exc_info=error)
    return InternalError(
        f"the server failed on this request; its log has the reason under incident {incident}",
        details={"incident": incident},
    )


def _end_if_broken(error: BaseException) -> None:
    """A CUDA error leaves the process unusable: end it, so that a fresh one starts."""
    if isinstance(error, torch.OutOfMemoryError) or "CUDA error" not in str(error):
        return
    logger.critical("the device failed, the worker ends", exc_info=error)
    os._exit(BROKEN_DEVICE_EXIT_CODE)


def main(connection: Connection, settings: WorkerSettings) -> None:
    """The whole life of the worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the HTTP process decides when; its end closes the pipe
        signal.signal(number, signal.SIG_IGN)
    logs.configure(settings.log_level, settings.log_format, "worker")
    try:
        models = load(settings)
        warm_up(models)
    except Exception as error:
        if not isinstance(error, ValueError):
            logger.exception("the worker cannot start")
        connection.send(StartFailed(str(error) or type(error).__name__))
        return
    connection.send(Ready(str(models.device), str(models.dtype).removeprefix("torch.")))
    worker = Worker(connection, models)
    worker.beat()
    worker.serve()
