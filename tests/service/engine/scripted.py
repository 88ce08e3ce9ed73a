"""Scripted workers at the other ends of real pipes; for tests of the HTTP process's side."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import pytest

from service.engine import replica as module
from service.engine.engine import Engine
from service.engine.messages import (
    Answer,
    Job,
    ModelSource,
    Ready,
    Stop,
    WorkerSettings,
)
from service.settings import Settings


@dataclass
class ScriptedProcess:
    """Stands for the process: alive until its pipe is closed or it is killed."""

    theirs: Connection
    pid: int = 4711
    exitcode: int | None = None

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        if self.exitcode is None:
            self.exitcode = -9
            with suppress(OSError), socket.socket(fileno=os.dup(self.theirs.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)  # as the kernel does; close alone wakes no reader

    def join(self, _: float) -> None:
        return


@dataclass
class ScriptedHandle:
    """What ``spawn`` gives."""

    process: ScriptedProcess
    connection: Connection

    def kill(self) -> None:
        self.process.kill()

    def describe_end(self) -> str:
        return "signal 9"


@dataclass
class Script:
    """The other end: tests say what it sends and look at what it received."""

    received: list[object] = field(default_factory=list)
    spawned: list[ScriptedHandle] = field(default_factory=list)
    greeting: object = field(default_factory=lambda: Ready("cpu", "float32"))
    on_job: Callable[[Connection, Job], None] = lambda pipe, job: pipe.send(answer(job))
    on_other: Callable[[Connection, Any], None] = lambda pipe, message: None
    asked: list[WorkerSettings] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def spawn(self, settings: WorkerSettings) -> ScriptedHandle:
        self.asked.append(settings)
        ours, theirs = multiprocessing.Pipe()
        handle = ScriptedHandle(ScriptedProcess(theirs), ours)
        self.spawned.append(handle)
        thread = threading.Thread(target=self._serve, args=(theirs,))
        self.threads.append(thread)
        thread.start()
        return handle

    def _serve(self, pipe: Connection) -> None:
        try:
            if self.greeting is not None:
                pipe.send(self.greeting)
            while not isinstance(message := pipe.recv(), Stop):
                self.received.append(message)
                if isinstance(message, Job):
                    self.on_job(pipe, message)
                else:
                    self.on_other(pipe, message)
        except (EOFError, OSError):
            return
        finally:
            pipe.close()


def answer(job: Job) -> Answer:
    return Answer(job.id, b"done", "text/plain", {}, 1, {"core": 1.0}, core_seconds=0.001)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    script = Script()
    monkeypatch.setattr(module, "spawn", script.spawn)
    yield script
    for handle in script.spawned:
        handle.kill()
    for thread in script.threads:
        thread.join(10)


@asynccontextmanager
async def running(script: Script, **settings: Any) -> AsyncIterator[Engine]:
    problems: list[str] = []
    engine = Engine(Settings(drain_timeout_s=0.5, **settings), None, problems.append)  # type: ignore[arg-type]
    await engine.start()
    if isinstance(script.greeting, Ready):
        await until(lambda: engine.status is not None)
    try:
        yield engine
    finally:
        await engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def job(engine: Engine, cost: int = 10) -> Job:
    return Job(id=engine.next_id(), model="tiny", cost=cost, submitted_at=0.0)


def silent(_: Connection, __: Job) -> None:
    """A worker that is busy for ever."""


def named(engine: Engine, request_id: str, **changes: Any) -> Job:
    return Job(id=engine.next_id(), model="tiny", cost=10, submitted_at=0.0, request_id=request_id, **changes)


EXTRA = ModelSource("tokenizer", "extra", "/models/extra")
SETTINGS = WorkerSettings(
    models=(), device="cpu", dtype="float32", max_pixels=64, max_batch=1, batch_pixels=64, tile_above_pixels=64,
    tile_side=8, before_threads=1, after_threads=1, log_level="info",
)  # fmt: skip


@asynccontextmanager
async def with_settings(script: Script, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(Settings(drain_timeout_s=0.5, **settings), SETTINGS, print)
    await engine.start()
    await until(lambda: all(board.open for board in engine._queue.boards))
    try:
        yield engine
    finally:
        await engine.stop()
