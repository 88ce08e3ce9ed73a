"""Models come and go: requests wait for theirs and for no other, what is in use stays, and failures tell why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from service.engine.messages import Job, Kind, ModelLoaded, ModelSource
from service.errors import (
    InternalError,
    InvalidParameter,
    ModelChanged,
    ModelFailed,
    ModelInUse,
    ModelLoading,
    NoModelMemory,
    QueueFull,
    UnknownModel,
    WorkerDied,
)
from service.lifecycle import Lifecycle
from service.registry import Key, Registry
from service.residence import Residences
from tests.service.conftest import models_setting

TINY: Key = ("tokenizer", "tiny")
OTHER: Key = ("tokenizer", "other")
CODES: Key = ("tokenizer", "codes")
SHAPES: Key = ("generator", "shapes")


@dataclass
class Workshop:
    """Stands for the engine: loads take a gate, and may fail."""

    order: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self, source: ModelSource) -> ModelLoaded:
        self.order.append(f"+{source.name}")
        self.began.set()
        if source.name in self.gates:
            await self.gates[source.name].wait()
        if source.name in self.failures:
            raise self.failures[source.name]
        return ModelLoaded(source.kind, source.name, 100, 0.5)

    async def unload(self, kind: Kind, name: str) -> None:
        self.order.append(f"-{name}")
        if f"-{name}" in self.failures:
            raise self.failures[f"-{name}"]


@dataclass
class House:
    """A lifecycle over the tiny models, each of which holds 100 bytes once it is loaded."""

    registry: Registry
    workshop: Workshop
    lifecycle: Lifecycle

    def state(self, key: Key) -> str:
        return str(self.lifecycle.facts(key)["state"])


Story = Callable[[House], Awaitable[None]]


@pytest.fixture
def tell(models: dict[str, Path]) -> Callable[..., None]:
    """Run a story in a house with a budget."""

    def tell(story: Story, budget: int = 0, wait_s: float = 60.0, waiting: int = 8) -> None:
        async def course() -> None:
            registry = Registry.read(models_setting(models))
            residences = Residences(registry, budget)
            if budget:  # as if all had been loaded before, so that sizes are known
                for key in registry.known:
                    residences[key].known_bytes = 100
            workshop = Workshop()
            lifecycle = Lifecycle(registry, residences, workshop, wait_s=wait_s, max_waiting=waiting)
            await story(House(registry, workshop, lifecycle))

        asyncio.run(course())

    return tell


def test_a_request_loads_its_model_and_what_it_needs(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        job = Job(id=1, model="other", cost=1, submitted_at=0.0)
        async with house.lifecycle.gate(job):
            assert house.state(OTHER) == "loaded"
        async with house.lifecycle.use(SHAPES):
            assert house.lifecycle.facts(TINY)["in_use"] == house.lifecycle.facts(SHAPES)["in_use"] == 1
        async with house.lifecycle.use(SHAPES):
            pass
        assert house.workshop.order == ["+other", "+tiny", "+shapes"]
        assert house.lifecycle.facts(SHAPES)["in_use"] == 0
        assert house.lifecycle.memory_bytes == 300

    tell(story)


def test_many_requests_wait_for_one_load(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        gate = house.workshop.gates["tiny"] = asyncio.Event()

        async def ask() -> None:
            async with house.lifecycle.use(TINY):
                await asyncio.sleep(0)

        asking = [asyncio.create_task(ask()) for _ in range(5)]
        await house.workshop.began.wait()
        assert house.state(TINY) == "loading"
        gate.set()
        await asyncio.gather(*asking)
        assert house.workshop.order == ["+tiny"]
        assert house.lifecycle.facts(TINY)["in_use"] == 0

    tell(story)


def test_others_are_served_while_one_loads(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(OTHER)
        gate = house.workshop.gates["tiny"] = asyncio.Event()
        house.workshop.began.clear()
        waiting = asyncio.create_task(house.lifecycle.load(TINY))
        await house.workshop.began.wait()
        async with house.lifecycle.use(OTHER):
            assert house.state(TINY) == "loading"
        gate.set()
        await waiting

    tell(story)


def test_a_wait_has_an_end_and_the_load_goes_on(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        gate = house.workshop.gates["tiny"] = asyncio.Event()
        with pytest.raises(ModelLoading, match="not loaded yet") as refusal:
            async with house.lifecycle.use(TINY, deadline=time.monotonic() + 0.01):
                raise AssertionError
        assert "retry-after" in refusal.value.headers
        gate.set()
        async with house.lifecycle.use(TINY):
            pass
        assert house.workshop.order == ["+tiny"]
        assert house.lifecycle.facts(TINY)["in_use"] == 0

    tell(story)


def test_a_caller_that_leaves_does_not_keep_the_model(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        gate = house.workshop.gates["tiny"] = asyncio.Event()
        leaving = asyncio.create_task(house.lifecycle.load(TINY))
        staying = asyncio.create_task(house.lifecycle.load(TINY))
        await house.workshop.began.wait()
        leaving.cancel()
        gate.set()
        await staying
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert house.lifecycle.facts(TINY)["in_use"] == 0
        await house.lifecycle.unload(TINY)

    tell(story)


def test_one_that_leaves_as_the_model_comes_gives_it_back(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        gate = house.workshop.gates["tiny"] = asyncio.Event()
        leaving = asyncio.create_task(house.lifecycle.load(TINY))
        await house.workshop.began.wait()
        gate.set()
        while house.state(TINY) != "loaded":
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert house.lifecycle.facts(TINY)["in_use"] == 0

    tell(story)


def test_the_least_recently_used_leaves_within_the_budget(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        for key in (OTHER, CODES, OTHER, TINY):
            async with house.lifecycle.use(key):
                pass
        assert house.workshop.order == ["+other", "+codes", "-codes", "+tiny"]
        assert house.lifecycle.memory_bytes == house.lifecycle.budget_bytes == 200
        async with house.lifecycle.use(SHAPES):
            assert house.state(TINY) == house.state(SHAPES) == "loaded"
            assert house.state(OTHER) == house.state(CODES) == "unloaded"
        async with house.lifecycle.use(CODES):  # the generator leaves before its tokenizer
            assert house.workshop.order[-2:] == ["-shapes", "+codes"]

    tell(story, budget=200)


def test_what_is_in_use_stays_and_others_wait_for_it(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        done = asyncio.Event()

        async def work() -> None:
            async with house.lifecycle.use(OTHER):
                await done.wait()

        working = asyncio.create_task(work())
        while house.state(OTHER) != "loaded":
            await asyncio.sleep(0)
        waiting = asyncio.create_task(house.lifecycle.load(TINY))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert house.workshop.order == ["+other"]
        done.set()
        await asyncio.gather(working, waiting)
        assert house.workshop.order == ["+other", "-other", "+tiny"]

    tell(story, budget=100)


def test_nobody_waits_for_memory_for_ever(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        async with house.lifecycle.use(OTHER):
            with pytest.raises((NoModelMemory, ModelLoading)):
                await house.lifecycle.load(TINY)
            await asyncio.sleep(0.02)
            assert house.state(TINY) == "unloaded"
        await house.lifecycle.load(TINY)
        assert house.workshop.order == ["+other", "-other", "+tiny"]

    tell(story, budget=100, wait_s=0.05)


def test_a_model_larger_than_the_budget_is_refused_at_once(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        with pytest.raises(NoModelMemory, match=r"200 bytes.*TESSERA_MODEL_MEMORY_BYTES is 150"):
            await house.lifecycle.load(SHAPES)
        assert house.state(SHAPES) == "unloaded"
        await house.lifecycle.load(TINY)

    tell(story, budget=150)


def test_a_failed_load_tells_why_and_disturbs_nobody(
    tell: Callable[..., None], models: dict[str, Path]
) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(OTHER)
        house.workshop.failures["tiny"] = InvalidParameter(f"{models['tiny']}/model.safetensors was altered")
        for _ in range(2):  # the second answer is remembered
            with pytest.raises(
                ModelFailed, match=r"tokenizer 'tiny' could not be loaded: tiny/model.*altered"
            ):
                async with house.lifecycle.use(SHAPES):
                    raise AssertionError
        assert house.workshop.order == ["+other", "+tiny"]
        facts = house.lifecycle.facts(TINY)
        assert facts["state"] == "failed"
        assert "altered" in facts["error"]
        assert str(models["tiny"]) not in facts["error"]
        async with house.lifecycle.use(OTHER):
            pass
        house.workshop.failures.clear()
        await house.lifecycle.load(TINY)  # who asks for the load itself is not put off
        assert house.state(TINY) == "loaded"

    tell(story)


def test_a_worker_that_dies_fails_the_load_and_not_the_model(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        house.workshop.failures["tiny"] = WorkerDied("ask again")
        with pytest.raises(WorkerDied):
            await house.lifecycle.load(TINY)
        assert house.state(TINY) == "unloaded"
        house.workshop.failures["tiny"] = RuntimeError("a defect")
        with pytest.raises(InternalError):
            await house.lifecycle.load(TINY)
        assert house.state(TINY) == "unloaded"

    tell(story)


def test_a_folder_that_changed_is_refused_with_both_names(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    copytree(models["tiny"], folder)

    async def story() -> None:
        registry = Registry.read(f"a={folder}")
        workshop = Workshop()
        lifecycle = Lifecycle(registry, Residences(registry, 0), workshop, wait_s=60.0, max_waiting=8)
        before = registry.tokenizer("a").spec_id
        for file in models["other"].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        after = Registry.read(f"a={folder}").tokenizer("a").spec_id
        with pytest.raises(ModelChanged, match=f"{before}.*{after}") as refusal:
            await lifecycle.load(("tokenizer", "a"))
        assert refusal.value.details["found_spec_id"] == after
        assert workshop.order == []
        (folder / "manifest.json").unlink()
        with pytest.raises(ModelFailed, match=r"manifest\.json") as failure:
            await lifecycle.load(("tokenizer", "a"))
        assert str(tmp_path) not in failure.value.message

    asyncio.run(story())


def test_unloading(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(SHAPES)
        with pytest.raises(ModelInUse, match="decodes for shapes"):
            await house.lifecycle.unload(TINY)
        async with house.lifecycle.use(SHAPES):
            with pytest.raises(ModelInUse, match="works for a request"):
                await house.lifecycle.unload(SHAPES)
        for key in (SHAPES, TINY, TINY):
            await house.lifecycle.unload(key)
        assert house.workshop.order[2:] == ["-shapes", "-tiny"]
        assert house.lifecycle.memory_bytes == 0

    tell(story)


def test_a_model_whose_worker_is_gone_is_gone_too(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(TINY)
        house.workshop.failures["-tiny"] = InvalidParameter("no")
        with pytest.raises(InvalidParameter):
            await house.lifecycle.unload(TINY)
        assert house.state(TINY) == "loaded"
        house.workshop.failures["-tiny"] = WorkerDied("gone")
        await house.lifecycle.unload(TINY)
        assert house.state(TINY) == "unloaded"

    tell(story)


def test_forgetting(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(OTHER)
        with pytest.raises(ModelInUse, match="decodes for shapes"):
            await house.lifecycle.forget(TINY)
        await house.lifecycle.forget(OTHER)
        assert house.workshop.order == ["+other", "-other"]
        assert OTHER not in house.registry.known
        with pytest.raises(UnknownModel):
            await house.lifecycle.load(OTHER)

    tell(story)


def test_only_so_many_wait_for_models(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        gate = house.workshop.gates["tiny"] = asyncio.Event()
        waiting = [asyncio.create_task(house.lifecycle.load(TINY)) for _ in range(2)]
        await house.workshop.began.wait()
        with pytest.raises(QueueFull):
            await house.lifecycle.load(TINY)
        gate.set()
        await asyncio.gather(*waiting)

    tell(story, waiting=2)


def test_a_worker_that_starts_with_none_loads_them_by_the_next_requests(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        await house.lifecycle.load(SHAPES)
        house.lifecycle.lost()
        assert house.state(TINY) == house.state(SHAPES) == "unloaded"
        assert house.lifecycle.memory_bytes == 0
        async with house.lifecycle.use(SHAPES):
            assert house.workshop.order == ["+tiny", "+shapes"] * 2

    tell(story)


def test_models_of_the_start_are_told_by_the_worker(tell: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        house.lifecycle.told(ModelLoaded("tokenizer", "tiny", 7, 0.25))
        facts: dict[str, Any] = house.lifecycle.facts(TINY)
        assert (facts["state"], facts["memory_bytes"], facts["load_seconds"]) == ("loaded", 7, 0.25)
        async with house.lifecycle.use(TINY):
            pass
        assert house.workshop.order == []

    tell(story)
