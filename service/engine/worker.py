"""The worker process: three overlapping stages around the models.

before (threads: decode pictures, pin) -> ready jobs -> core (one thread: the network) -> after (threads: copy
to the host, encode). Every job is answered by exactly one message. Whatever goes wrong with a job answers
that job alone. Batch work has threads of its own, so that it never stands before interactive work.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from service import logs
from service.engine import operations
from service.engine.batching import ReadyJobs
from service.engine.core import Core
from service.engine.costs import Costs, parse_buckets
from service.engine.failures import end_if_broken, to_service_error, too_late
from service.engine.messages import (
    Cancel,
    Dropped,
    Failure,
    GenerateJob,
    Job,
    LoadModel,
    MemoryShort,
    ModelFailed,
    ModelLoaded,
    ModelUnloaded,
    Progress,
    Ready,
    StartFailed,
    Stop,
    UnloadModel,
)
from service.engine.models import Models, in_order, load_one, place, weights_bytes
from service.engine.operations.generate import Generate
from service.engine.task import Task
from service.engine.vitals import start_pulse
from service.engine.warmup import Warmup, seconds_per_cost
from service.errors import InvalidParameter, RequestCancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torch import Tensor

    from service.engine.messages import Answer, ModelSource, Priority, WorkerSettings
    from service.errors import ServiceError

logger = logging.getLogger(__name__)

BROKEN_CORE_EXIT_CODE = 71


class Worker:
    """The stages, and where what becomes of jobs goes (``core.Outcomes``).

    Args:
        connection: to the HTTP process.
        models: loaded.
        costs: measured; without it nothing is known and every bucket is used.
    """

    def __init__(self, connection: Connection, models: Models, costs: Costs | None = None) -> None:
        self._connection = connection
        self._models = models
        self._costs = costs or make_costs(models.settings)
        self._operations = operations.build(models, self)
        settings = models.settings
        self._most_results = 2 * settings.max_batch
        self._ready: ReadyJobs[Task] = ReadyJobs(self._costs, room=self._has_room)
        self._before: dict[Priority, ThreadPoolExecutor] = {
            "interactive": ThreadPoolExecutor(settings.before_threads, "before"),
            "batch": ThreadPoolExecutor(1, "before-batch"),
        }
        self._after: dict[Priority, ThreadPoolExecutor] = {
            "interactive": ThreadPoolExecutor(settings.after_threads, "after"),
            "batch": ThreadPoolExecutor(1, "after-batch"),
        }
        self._aside = ThreadPoolExecutor(1, "aside")  # previews: late ones are left out
        self._loader = ThreadPoolExecutor(1, "loader")
        self._core = threading.Thread(target=self._run_core, name="core", daemon=True)
        # Results on the device: the network waits when encoding falls behind.
        self._results: dict[Priority, int] = {"interactive": 0, "batch": 0}
        self._fewer_results = threading.Condition()
        self._send_lock = threading.Lock()
        self._lock = threading.Lock()
        self._tasks: dict[int, Task] = {}

    @property
    def num_ready(self) -> int:
        """Jobs that are prepared and wait for the network."""
        return len(self._ready)

    def beat(self) -> None:
        """Show signs of life from now on."""
        start_pulse(self._send, self._models.device.type)

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
            elif isinstance(message, LoadModel):
                self._loader.submit(self._load, message.source)
            elif isinstance(message, UnloadModel):
                self._ready.chore(partial(self._unload, message))
            else:
                self._take(message)
        self._loader.shutdown(cancel_futures=True)
        for threads in self._before.values():
            threads.shutdown()
        self._ready.close()
        self._core.join()
        for threads in self._after.values():
            threads.shutdown()
        self._aside.shutdown(cancel_futures=True)

    def _run_core(self) -> None:
        """Nothing may end this thread before its time: without it the process would take work and never do it."""
        try:
            Core(self._models, self._costs, self._ready, self).run()
        except BaseException:
            logger.critical("the thread of the network failed, the worker ends", exc_info=True)
            os._exit(BROKEN_CORE_EXIT_CODE)

    # Where jobs go

    def _take(self, job: Job) -> None:
        task = Task(job, self._operations[type(job)])
        with self._lock:
            self._tasks[job.id] = task
        self._before[job.priority].submit(self._guard, task, self._prepare)

    def _cancel(self, job_id: int) -> None:
        """Noticed where the task is: before the network, between two steps, or before its answer is written."""
        with self._lock:
            task = self._tasks.get(job_id)
            if task is None:  # answered in the meantime
                return
            task.cancelled = True
            waiting = self._ready.drop(job_id)
        if waiting:
            self.dropped(task)

    def _prepare(self, task: Task) -> None:
        task.marks["before_start"] = time.monotonic()
        if task.cancelled:
            self.dropped(task)
            return
        prepared = task.operation.before(task.job)
        pinned = task.job.bucket
        for bucket in (pinned, task.job.decode_bucket):
            if bucket is not None:
                self._check_pinned(bucket, prepared.kind, prepared.pixels)
        task.payload = prepared.payload
        task.marks["before_end"] = time.monotonic()
        with self._lock:
            cancelled = task.cancelled
            if not cancelled:
                self._ready.put(replace(prepared, payload=task, priority=task.job.priority, pinned=pinned))
        if cancelled:
            self.dropped(task)

    def _check_pinned(self, bucket: int, kind: tuple[str, str], pixels: int) -> None:
        """Padding to a pinned bucket is work that somebody asks for: it has the limits of any pass."""
        if not self._costs.holds(kind, pixels, bucket):
            raise InvalidParameter(
                f"x-batch-bucket is {bucket}, and {bucket} pictures of {pixels} pixels are more than one pass takes "
                "here: pin a smaller one, as an answer without the header tells",
                param="x-batch-bucket",
            )

    # What becomes of them

    def computed(self, task: Task) -> None:
        """To the threads that write answers; interactive work waits here when they are behind."""
        priority = task.job.priority
        with self._fewer_results:
            while priority == "interactive" and self._results[priority] >= self._most_results:
                self._fewer_results.wait()
            self._results[priority] += 1
        self._after[priority].submit(self._guard, task, self._finish)

    def failed(self, task: Task, error: BaseException) -> None:
        """Tell why."""
        self._forget(task)
        self._send(Failure(task.job.id, to_service_error(error, type(task.job).__name__)))

    def dropped(self, task: Task) -> None:
        """Tell that it is over."""
        self._forget(task)
        self._send(Dropped(task.job.id))

    def advanced(self, task: Task, step: int, num_steps: int, clean: Callable[[], Tensor] | None) -> None:
        """Tell of every so many steps, from a thread of its own; a preview is left out while one is being made."""
        every = task.job.progress_every
        if not every or (step % every and step != num_steps):
            return
        wanted = task.job.previews and clean is not None and step < num_steps and not task.previewing
        task.previewing |= wanted
        self._aside.submit(
            self._progress, task, Progress(task.job.id, step, num_steps), clean if wanted else None
        )

    def over(self, job_id: int) -> ServiceError | None:
        """Why no work should be done for a job any more, if so; for operations that make steps of their own."""
        with self._lock:
            task = self._tasks.get(job_id)
        if task is None or task.cancelled:
            return RequestCancelled("nobody waits for this request any more")
        return too_late() if task.late else None

    def stepped(self, job_id: int, step: int, num_steps: int) -> None:
        """An operation that makes steps of its own has made one."""
        with self._lock:
            task = self._tasks.get(job_id)
        if task is not None:
            self.advanced(task, step, num_steps, None)

    def memory_short(self, rows: int) -> None:
        """Tell that a pass did not fit."""
        self._send(MemoryShort(rows))

    def _progress(self, task: Task, progress: Progress, clean: Callable[[], Tensor] | None) -> None:
        if clean is not None and not task.gone:
            assert isinstance(task.job, GenerateJob)
            assert isinstance(task.operation, Generate)  # nothing else makes steps
            try:
                with torch.inference_mode():
                    progress = replace(progress, preview=task.operation.preview(task.job, clean))
            except Exception:  # the picture itself is on its way all the same
                logger.exception("no preview of job %d", task.job.id)
            task.previewing = False
        with self._lock:
            known = task.job.id in self._tasks
        if known:
            self._send(progress)

    def _finish(self, task: Task) -> None:
        try:
            if task.cancelled:
                self.dropped(task)
                return
            task.marks["after_start"] = time.monotonic()
            with torch.inference_mode():
                answer: Answer = task.operation.after(task.job, task.payload, task.result)
            task.marks["after_end"] = time.monotonic()
        finally:
            task.payload = task.result = None
            with self._fewer_results:
                self._results[task.job.priority] -= 1
                self._fewer_results.notify()
            self._ready.wake()
        headers = answer.headers | ({"x-tessera-tiled": "memory"} if task.tiled else {})
        self._forget(task)
        self._send(
            replace(
                answer,
                headers=headers,
                batch_size=task.batch_size,
                timings_ms=task.timings_ms(),
                bucket=task.bucket,
                decode_bucket=task.decode_bucket,
                core_seconds=task.core_seconds,
            )
        )

    def _guard(self, task: Task, stage: Callable[[Task], None]) -> None:
        try:
            stage(task)
        except BaseException as error:
            end_if_broken(error)
            self.failed(task, error)

    def _forget(self, task: Task) -> None:
        with self._lock:
            self._tasks.pop(task.job.id, None)

    def _has_room(self, priority: Priority) -> bool:
        return self._results[priority] < self._most_results

    # Models

    def _load(self, source: ModelSource) -> None:
        """Read the weights in this thread; warm up in the turns that the core gives, beside other work."""
        started = time.monotonic()
        try:
            model = load_one(self._models, source)
        except BaseException as error:
            self._refuse_model(source.kind, source.name, error)
            return
        pieces = Warmup(self._models, self._costs).pieces(source, model)

        def piece() -> bool:
            try:
                if next(pieces, False) is not False:
                    return True
                self._models.add(source, model)
            except BaseException as error:
                end_if_broken(error)
                self._refuse_model(source.kind, source.name, error)
                return False
            seconds = time.monotonic() - started
            self._send(ModelLoaded(source.kind, source.name, weights_bytes(model), seconds))
            return False

        self._ready.chore(piece)

    def _unload(self, asked: UnloadModel) -> bool:
        try:
            self._models.remove(asked.kind, asked.name)
        except BaseException as error:
            self._refuse_model(asked.kind, asked.name, error)
        else:
            for kind in (
                ("encode", "decode", "reconstruct") if asked.kind == "tokenizer" else ("step", "pipeline")
            ):
                self._costs.forget((kind, asked.name))
            self._send(ModelUnloaded(asked.kind, asked.name))
        return False

    def _refuse_model(self, kind: Any, name: str, error: BaseException) -> None:  # Kind of messages.py
        if isinstance(error, ValueError | OSError):
            error = InvalidParameter(str(error), param="model")
        self._send(ModelFailed(kind, name, to_service_error(error, f"{kind} {name}")))

    def _send(self, message: object) -> None:
        try:
            with self._send_lock:
                self._connection.send(message)
        except OSError:  # the server is gone; serve() ends the process
            logger.debug("nobody hears %s", type(message).__name__)


def make_costs(settings: WorkerSettings) -> Costs:
    """What passes cost, nothing of which is measured yet.

    Raises:
        ValueError: for buckets that cannot be.
    """
    buckets, chosen = parse_buckets(settings.buckets, settings.max_batch)
    return Costs(buckets, chosen=chosen, max_pixels=settings.batch_pixels, max_seconds=settings.pass_s)


def _load_and_warm(models: Models, costs: Costs, source: ModelSource) -> ModelLoaded:
    started = time.monotonic()
    model = load_one(models, source)
    models.add(source, model)
    with torch.inference_mode():
        for _ in Warmup(models, costs).pieces(source, model):
            pass
    seconds = time.monotonic() - started
    logger.info("%s %s loaded and warm in %.1f s", source.kind, source.name, seconds)
    return ModelLoaded(source.kind, source.name, weights_bytes(model), seconds)


def main(connection: Connection, settings: WorkerSettings) -> None:
    """The whole life of the worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the HTTP process decides when; its end closes the pipe
        signal.signal(number, signal.SIG_IGN)
    logs.configure(settings.log_level, settings.log_format, "worker")
    try:
        costs = make_costs(settings)
        models = place(settings)
        loaded = tuple(_load_and_warm(models, costs, source) for source in in_order(settings.models))
    except Exception as error:
        if not isinstance(error, ValueError):
            logger.exception("the worker cannot start")
        connection.send(StartFailed(str(error) or type(error).__name__))
        return
    dtype = str(models.dtype).removeprefix("torch.")
    connection.send(Ready(str(models.device), dtype, loaded, seconds_per_cost(models, costs)))
    worker = Worker(connection, models, costs)
    worker.beat()
    worker.serve()
