"""A store whose clock the tests turn, and kinds of jobs that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from service.jobs.desk import Desk
from service.jobs.folders import JobFolders
from service.jobs.kind import Run
from service.jobs.kinds import KINDS
from service.jobs.record import JobRecord, Json, Lane, NewJob, Result
from service.jobs.runner import Limits, Runner
from service.jobs.store import JobStore
from service.jobs.surroundings import Surroundings


@dataclass
class Clock:
    """Unix seconds that stand still."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


OpenStore = Callable[..., JobStore]


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[OpenStore]:
    """Opens the one file of this test, as often as wanted: each time another server's view of it."""
    opened: list[JobStore] = []

    def open_it(**options: Any) -> JobStore:
        limits = {"max_waiting": 100, "max_bytes": 10**9, "clock": clock}
        store = JobStore(tmp_path / "jobs.sqlite3", **(limits | options))
        opened.append(store)
        return store

    yield open_it
    for store in opened:
        store.close()


def new(number: int, *, owner: str = "", lane: Lane = "requests", **changes: Any) -> NewJob:
    """A job that differs from others by its number."""
    values: dict[str, Any] = {
        **{"id": f"job_{number:024x}", "kind": "told", "lane": lane, "owner": owner},
        **{"request": {"number": number}, "fingerprint": f"print {number}"},
    }
    return NewJob(**(values | changes))


@dataclass
class Told:
    """A kind whose runs do what the test says, and that counts them.

    Attributes:
        work: what a run does.
        begun: ids of the jobs whose runs have begun, in order.
        discarded: ids of those that were discarded.
    """

    work: Callable[[Run], Any]
    name: str = "told"
    shape: Literal["job", "evaluation"] = "job"
    lane: Lane = "requests"
    begun: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def run(self, run: Run) -> Result:
        self.begun.append(run.record.id)
        await self.work(run)
        return Result("result", "text/plain")

    async def discard(self, run: Run) -> None:
        self.discarded.append(run.record.id)

    def shown(self, record: JobRecord, folder: Path) -> Json:
        return {}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The kind ``told``; it does nothing until ``work`` is set."""

    async def nothing(_: Run) -> None:
        return

    kind = Told(nothing)
    monkeypatch.setitem(KINDS, "told", kind)
    return kind


async def no_app(*_: object) -> None:
    """An application that nobody asks."""


def make_runner(root: Path, store: JobStore, **limits: Any) -> Runner:
    """A runner over a folder; made within a running loop."""
    around = Surroundings(
        app=no_app,
        registry=None,  # type: ignore[arg-type]  # no kind of these tests asks for models
        data={},
        url=lambda: "http://127.0.0.1:9",
        key="own",
        has_keys=False,
        is_ready=lambda: True,
        is_ending=lambda: False,
    )
    (root / "servers").mkdir(exist_ok=True)
    chosen: dict[str, Any] = {
        "places": {"requests": 2, "processes": 1},
        **{"lease_s": 30.0, "attempts": 2, "timeout_s": 60.0, "keep_s": 100.0},
    }
    folders = JobFolders(root / "jobs")
    return Runner(Desk(store), folders, around, Limits(**(chosen | limits)), root / "servers")


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
