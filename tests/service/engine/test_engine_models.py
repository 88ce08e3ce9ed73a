"""Models come and go in every worker, or in none."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from typing import Any

import pytest

from service.engine.messages import (
    Job,
    LoadModel,
    ModelFailed,
    ModelLoaded,
    ModelUnloaded,
    UnloadModel,
)
from service.errors import (
    InvalidParameter,
    WorkerDied,
)
from tests.service.engine.scripted import (
    EXTRA,
    Script,
    answer,
    job,
    until,
    with_settings,
)


def test_a_model_is_loaded_everywhere_and_by_those_who_start_later(script: Script) -> None:
    script.on_other = lambda pipe, message: pipe.send(
        ModelLoaded("tokenizer", "extra", 100, 0.5)
        if isinstance(message, LoadModel)
        else ModelUnloaded(message.kind, message.name)
    )

    async def course() -> None:
        async with with_settings(script, device="cpu,cpu") as engine:
            assert (await engine.load(EXTRA)).memory_bytes == 100
            assert script.received == [LoadModel(EXTRA)] * 2
            script.spawned[0].process.kill()
            await until(lambda: len(script.asked) == 3)
            assert [settings.models for settings in script.asked] == [(), (), (EXTRA,)]
            await until(lambda: all(board.open for board in engine._queue.boards))
            await engine.unload("tokenizer", "extra")
            assert script.received[2:] == [UnloadModel("tokenizer", "extra")] * 2

    asyncio.run(course())


def test_a_model_that_one_worker_cannot_load_is_served_by_none(script: Script) -> None:
    def other(pipe: Connection, message: Any) -> None:
        if isinstance(message, LoadModel) and pipe is script.spawned[0].process.theirs:
            pipe.send(ModelFailed("tokenizer", "extra", InvalidParameter("it is damaged")))
        elif isinstance(message, LoadModel):
            pipe.send(ModelLoaded("tokenizer", "extra", 100, 0.5))

    script.on_other = other

    async def course() -> None:
        async with with_settings(script, device="cpu,cpu") as engine:
            with pytest.raises(InvalidParameter, match="damaged"):
                await engine.load(EXTRA)
            await until(lambda: UnloadModel("tokenizer", "extra") in script.received)
            script.spawned[1].process.kill()
            await until(lambda: len(script.asked) == 3)
            assert script.asked[2].models == ()

    asyncio.run(course())


def test_the_death_of_a_worker_ends_a_load(script: Script) -> None:
    async def course() -> None:
        async with with_settings(script) as engine:
            task = asyncio.create_task(engine.load(EXTRA))
            await until(lambda: LoadModel(EXTRA) in script.received)
            script.spawned[0].process.kill()
            with pytest.raises(WorkerDied):
                await task

    asyncio.run(course())


def test_unloading_waits_for_the_jobs_of_the_model(script: Script) -> None:
    pipes: list[tuple[Connection, Job]] = []
    script.on_job = lambda pipe, work: pipes.append((pipe, work))
    script.on_other = lambda pipe, message: pipe.send(ModelUnloaded(message.kind, message.name))

    async def course() -> None:
        async with with_settings(script) as engine:
            running_job = asyncio.create_task(engine.submit(job(engine)))
            await until(lambda: bool(pipes))
            unloading = asyncio.create_task(engine.unload("tokenizer", "tiny"))
            await asyncio.sleep(0.1)
            assert not unloading.done()
            pipes[0][0].send(answer(pipes[0][1]))
            await unloading
            assert (await running_job).body == b"done"

    asyncio.run(course())
