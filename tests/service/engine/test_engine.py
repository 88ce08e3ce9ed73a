"""The HTTP process's side of the worker, against a scripted worker at the other end of a real pipe."""

from __future__ import annotations

import asyncio
import logging
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

from service.engine import engine as module
from service.engine.engine import Engine
from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    Failure,
    Job,
    Ready,
    StartFailed,
    Stop,
    WorkerSettings,
)
from service.errors import NotFinite, NotReady, QueueFull, TimedOut, WorkerDied
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
    threads: list[threading.Thread] = field(default_factory=list)

    def spawn(self, _: WorkerSettings) -> ScriptedHandle:
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
        except (EOFError, OSError):
            return
        finally:
            pipe.close()


def answer(job: Job) -> Answer:
    return Answer(job.id, b"done", "text/plain", {}, 1, {"core": 1.0})


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


def test_a_job_is_answered(script: Script) -> None:
    async def course() -> None:
        async with running(script) as engine:
            assert (await engine.submit(job(engine))).body == b"done"
            assert engine.cost == 0

    asyncio.run(course())


def test_a_failure_is_raised_as_itself(script: Script) -> None:
    script.on_job = lambda pipe, work: pipe.send(Failure(work.id, NotFinite("say what to do")))

    async def course() -> None:
        async with running(script) as engine:
            with pytest.raises(NotFinite):
                await engine.submit(job(engine))
            assert engine.cost == 0

    asyncio.run(course())


def test_not_ready_until_the_worker_says_so(script: Script) -> None:
    script.greeting = None

    async def course() -> None:
        async with running(script) as engine:
            with pytest.raises(NotReady):
                await engine.submit(job(engine))

    asyncio.run(course())


def test_full_is_refused_and_room_returns(script: Script) -> None:
    pipes: list[tuple[Connection, Job]] = []
    script.on_job = lambda pipe, work: pipes.append((pipe, work))

    async def course() -> None:
        async with running(script, queue_requests=2) as engine:
            first, second = (asyncio.create_task(engine.submit(job(engine))) for _ in range(2))
            await until(lambda: len(pipes) == 2)
            with pytest.raises(QueueFull):
                await engine.submit(job(engine))
            for pipe, work in pipes:
                pipe.send(answer(work))
            await asyncio.gather(first, second)
            third = asyncio.create_task(engine.submit(job(engine)))
            await until(lambda: len(pipes) == 3)
            pipes[2][0].send(answer(pipes[2][1]))
            await third

    asyncio.run(course())


def test_the_death_of_the_worker_answers_those_on_board_and_keeps_those_who_wait(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, max_batch=1) as engine:  # two on board
            tasks = [asyncio.create_task(engine.submit(job(engine))) for _ in range(3)]
            await until(lambda: len(script.received) == 2)
            script.on_job = lambda pipe, work: pipe.send(answer(work))
            script.spawned[0].process.kill()
            for task in tasks[:2]:
                with pytest.raises(WorkerDied) as death:
                    await task
                assert death.value.headers["retry-after"]
            assert (await tasks[2]).body == b"done"
            assert len(script.spawned) == 2
            assert (await engine.submit(job(engine))).body == b"done"

    asyncio.run(course())


def test_a_cancelled_caller_drops_a_waiting_job_at_once(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, max_batch=1) as engine:
            tasks = [asyncio.create_task(engine.submit(job(engine))) for _ in range(3)]
            await until(lambda: len(script.received) == 2)
            tasks[2].cancel()
            await asyncio.gather(tasks[2], return_exceptions=True)
            assert engine.cost == 20
            for task in tasks[:2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(course())
    assert [message.id for message in script.received if isinstance(message, Job)] == [1, 2]


def test_a_cancelled_caller_tells_the_worker_and_keeps_the_seat_until_it_answers(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script) as engine:
            task = asyncio.create_task(engine.submit(job(engine)))
            await until(lambda: bool(script.received))
            task.cancel()
            await until(lambda: Cancel(1) in script.received)
            assert engine.cost == 10
            script.spawned[0].process.theirs.send(Dropped(1))
            await until(lambda: engine.cost == 0)

    asyncio.run(course())


def test_a_late_answer_is_a_timeout(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, request_timeout_s=0.05) as engine:
            with pytest.raises(TimedOut, match="fewer images"):
                await engine.submit(job(engine))
            await until(lambda: Cancel(1) in script.received)

    asyncio.run(course())


def test_a_worker_that_hangs_is_killed_and_replaced(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, stall_timeout_s=0.05) as engine:
            with pytest.raises(WorkerDied):
                await engine.submit(job(engine))
            await until(lambda: len(script.spawned) == 2)

    asyncio.run(course())


def test_idle_silence_is_no_hang(script: Script) -> None:
    async def course() -> None:
        async with running(script, stall_timeout_s=0.05) as engine:
            await asyncio.sleep(1.3)  # more than one look of the watch
            assert (await engine.submit(job(engine))).body == b"done"
            assert len(script.spawned) == 1

    asyncio.run(course())


def test_a_first_start_that_fails_is_fatal_and_not_repeated(script: Script) -> None:
    script.greeting = StartFailed("tokenizer 'x' cannot be loaded")
    problems: list[str] = []

    async def course() -> None:
        engine = Engine(Settings(), None, problems.append)  # type: ignore[arg-type]
        await engine.start()
        await until(lambda: bool(problems))
        with pytest.raises(NotReady):
            engine.require_ready()
        await engine.stop()

    asyncio.run(course())
    assert problems == ["tokenizer 'x' cannot be loaded"]
    assert len(script.spawned) == 1


def test_stop_lets_those_on_board_finish(script: Script) -> None:
    def slowly(pipe: Connection, work: Job) -> None:
        threading.Timer(0.1, pipe.send, (answer(work),)).start()

    script.on_job = slowly

    async def course() -> None:
        async with running(script, max_batch=1) as engine:
            tasks = [asyncio.create_task(engine.submit(job(engine))) for _ in range(3)]
            await until(lambda: len(script.received) == 2)
            await engine.stop()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in done] == [Answer, Answer, NotReady]

    asyncio.run(course())


def test_what_cannot_be_sent_ends_the_worker_instead_of_hanging(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    async def course() -> None:
        async with running(script) as engine:
            unsendable = Job(id=engine.next_id(), model=lambda: 0, cost=1, submitted_at=0.0)  # type: ignore[arg-type]
            with caplog.at_level(logging.ERROR), pytest.raises(WorkerDied):
                await engine.submit(unsendable)
            await until(lambda: len(script.spawned) == 2)

    asyncio.run(course())
    assert "cannot be sent" in caplog.text
