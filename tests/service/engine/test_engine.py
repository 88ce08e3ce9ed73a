"""The HTTP process's side of the workers, against scripted workers at the other ends of real pipes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from multiprocessing.connection import Connection

import pytest

from service.engine.engine import Engine
from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    Failure,
    Job,
    MemoryShort,
    Progress,
    Ready,
    StartFailed,
)
from service.errors import (
    NotFinite,
    NotReady,
    QueueFull,
    RequestCancelled,
    TimedOut,
    WorkerDied,
)
from service.settings import Settings
from tests.service.engine.scripted import (
    Script,
    answer,
    job,
    named,
    running,
    silent,
    until,
)


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


def test_a_request_is_cancelled_by_its_id_waiting_or_running(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, max_batch=1) as engine:  # two on board
            names = ("mine", "other", "mine")
            tasks = [asyncio.create_task(engine.submit(named(engine, name))) for name in names]
            await until(lambda: len(script.received) == 2)
            assert engine.cancel("mine")
            for task in (tasks[0], tasks[2]):
                with pytest.raises(RequestCancelled):
                    await task
            await until(lambda: Cancel(1) in script.received)
            assert not tasks[1].done()
            assert not engine.cancel("mine")
            assert not engine.cancel("")
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(course())
    assert [message.id for message in script.received if isinstance(message, Job)] == [1, 2]


def test_progress_comes_before_the_answer_to_who_asked_for_it(script: Script) -> None:
    def steps(pipe: Connection, work: Job) -> None:
        for step in (1, 2):
            pipe.send(Progress(work.id, step, 2))
        pipe.send(answer(work))

    script.on_job = steps
    told: list[Progress] = []

    async def course() -> None:
        async with running(script) as engine:
            await engine.submit(named(engine, "a"), on_progress=told.append)
            await engine.submit(named(engine, "b"))

    asyncio.run(course())
    assert told == [Progress(1, 1, 2), Progress(1, 2, 2)]


def test_a_deadline_is_shorter_than_the_timeout(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script) as engine:
            with pytest.raises(TimedOut):
                await engine.submit(named(engine, "a", deadline=time.monotonic() + 0.05))
            await until(lambda: Cancel(1) in script.received)

    asyncio.run(course())


def test_twice_the_capacity_is_refused_with_the_predicted_wait(script: Script) -> None:
    """The warm-up said 0.1 s a pixel: ten seconds of work are admitted, what comes then is told when they are done."""
    script.greeting = Ready("cpu", "float32", (), {("Job", "tiny"): 0.1})
    script.on_job = silent

    async def course() -> None:
        async with running(script, queue_s=10) as engine:
            tasks = [asyncio.create_task(engine.submit(job(engine, 20))) for _ in range(20)]
            await until(lambda: len(script.received) == 6)
            refused = [task for task in tasks if task.done()]
            assert len(refused) == 14  # 0, 2, 4, 6, 8 and 10 s were before those that got in
            for task in refused:
                error = task.exception()
                assert isinstance(error, QueueFull)
                assert error.headers == {"retry-after": "12", "retry-after-ms": "12000"}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(course())


def test_two_devices_share_the_jobs_and_one_death_loses_only_its_own(script: Script) -> None:
    script.on_job = silent

    async def course() -> None:
        async with running(script, device="cpu,cpu", max_batch=1) as engine:
            tasks = [asyncio.create_task(engine.submit(job(engine))) for _ in range(4)]
            await until(lambda: len(script.received) == 4)
            boards = [set(board.jobs) for board in engine._queue.boards]
            assert sorted(map(len, boards)) == [2, 2]
            script.on_job = lambda pipe, work: pipe.send(answer(work))
            script.spawned[0].process.kill()
            await until(lambda: sum(task.done() for task in tasks) == 2)
            lost = [number for number, task in enumerate(tasks, start=1) if task.done()]
            assert set(lost) in boards
            assert all(isinstance(tasks[number - 1].exception(), WorkerDied) for number in lost)
            assert engine.status is not None  # the other one serves on
            assert (await engine.submit(job(engine))).body == b"done"
            await until(lambda: len(script.spawned) == 3)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(course())


def test_short_memory_is_counted(script: Script) -> None:
    def short(pipe: Connection, work: Job) -> None:
        pipe.send(MemoryShort(8))
        pipe.send(answer(work))

    script.on_job = short

    async def course() -> None:
        async with running(script) as engine:
            await engine.submit(job(engine))
            assert b"tessera_oom_total 1.0" in engine._metrics.exposition()

    asyncio.run(course())
