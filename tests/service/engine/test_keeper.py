"""What a job passes before it is admitted: its model's gate, where it can be cancelled, run late or be refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.engine.engine import Engine
from service.engine.messages import Answer, Job, ModelLoaded, ModelSource, Ready, StartFailed
from service.errors import ModelFailed, NotReady, RequestCancelled, TimedOut
from service.settings import Settings


class Gated(Engine):
    """An engine whose only worker answers at once, and a gate that tests open."""

    def __init__(self) -> None:
        super().__init__(Settings(drain_timeout_s=1.0), None, print)  # type: ignore[arg-type]  # no worker is started
        self.opened = asyncio.Event()
        self.inside = 0
        self.sent: list[int] = []
        self.told_of: list[str] = []
        self.keeper = self
        replica = self._replicas[0]
        replica.status, replica.was_ready = Ready("cpu", "float32"), True
        replica.send = self.answer  # type: ignore[method-assign, assignment]  # there is no process to send to
        self._queue.boards[0].open = True

    def answer(self, message: object) -> None:
        assert isinstance(message, Job)
        self.sent.append(message.id)
        done = Answer(message.id, b"done", "text/plain", core_seconds=0.001)
        asyncio.get_running_loop().call_soon(self._on_message, self._replicas[0], done)

    @asynccontextmanager
    async def gate(self, job: Job) -> AsyncIterator[None]:
        if job.model == "refused":
            raise ModelFailed("say why")
        if job.model == "unloaded":
            await self.opened.wait()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def told(self, loaded: ModelLoaded) -> None:
        self.told_of.append(loaded.name)

    def lost(self) -> None:
        self.told_of.clear()

    def job(self, model: str = "unloaded", **facts: object) -> Job:
        return Job(id=self.next_id(), model=model, cost=1, submitted_at=0.0, **facts)  # type: ignore[arg-type]


def tell(story: Callable[[Gated], Awaitable[None]]) -> None:
    async def course() -> None:
        engine = Gated()
        await story(engine)
        assert (engine.inside, engine.cost, engine._futures, engine._at_gate) == (0, 0, {}, {})

    asyncio.run(course())


def test_a_job_waits_for_its_model_and_others_pass() -> None:
    async def story(engine: Gated) -> None:
        waiting = asyncio.create_task(engine.submit(engine.job()))
        await asyncio.sleep(0)
        assert (await engine.submit(engine.job("loaded"))).body == b"done"
        assert (engine.cost, len(engine.sent)) == (0, 1)
        engine.opened.set()
        assert (await waiting).body == b"done"

    tell(story)


def test_it_is_cancelled_there_by_id_and_by_its_caller() -> None:
    async def story(engine: Gated) -> None:
        by_id = asyncio.create_task(engine.submit(engine.job(request_id="x")))
        by_caller = asyncio.create_task(engine.submit(engine.job(request_id="y")))
        await asyncio.sleep(0)
        assert engine.cancel("x")
        with pytest.raises(RequestCancelled):
            await by_id
        by_caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await by_caller
        assert engine.sent == []

    tell(story)


def test_it_runs_late_there() -> None:
    async def story(engine: Gated) -> None:
        with pytest.raises(TimedOut):
            await engine.submit(engine.job(deadline=time.monotonic() + 0.01))

    tell(story)


def test_why_the_model_is_not_there_is_the_answer() -> None:
    async def story(engine: Gated) -> None:
        with pytest.raises(ModelFailed, match="say why"):
            await engine.submit(engine.job("refused"))

    tell(story)


def test_the_end_of_the_server_ends_the_wait() -> None:
    async def story(engine: Gated) -> None:
        waiting = asyncio.create_task(engine.submit(engine.job()))
        await asyncio.sleep(0)
        await engine.stop()
        with pytest.raises(NotReady, match="shutting down"):
            await waiting

    tell(story)


def test_it_hears_of_models_and_of_a_worker_that_cannot_start_with_them_again() -> None:
    async def story(engine: Gated) -> None:
        (replica,) = engine._replicas
        tiny = ModelLoaded("tokenizer", "tiny", 10, 0.1)
        engine._models["tokenizer", "tiny"] = ModelSource("tokenizer", "tiny", "folder")
        engine._on_message(replica, Ready("cpu", "float32", (tiny,)))
        assert engine.told_of == ["tiny"]
        engine._on_message(replica, StartFailed("the folder is gone"))
        assert (engine.told_of, engine._models) == ([], {})

    tell(story)
