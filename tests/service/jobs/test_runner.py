"""The runner: every job once, whatever happens to the server that has it."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import InternalError, NotFinite
from service.jobs import runner as runner_module
from service.jobs.kind import Again, Refused, Run
from service.jobs.record import JobRecord, Progress
from service.jobs.runner import Runner
from service.jobs.store import JobStore
from tests.service.jobs.conftest import OpenStore, Told, make_runner, new, until
from tokenizer.core import locks


def run(
    tmp_path: Path, store: JobStore, course: Callable[[Runner], Awaitable[None]], **limits: Any
) -> dict[int, JobRecord]:
    """Start a runner, let ``course`` happen, stop it; the rows then, by number."""

    async def whole() -> None:
        runner = make_runner(tmp_path, store, **limits)
        await runner.start()
        try:
            await course(runner)
        finally:
            await runner.stop()

    asyncio.run(whole())
    return {record.request["number"]: record for record in store.page("", limit=100)}


def ended(store: JobStore) -> Callable[[], bool]:
    return lambda: all(record.finished for record in store.page("", limit=100))


def die(runner: Runner) -> None:
    """End a runner as ``kill -9`` would: nothing is said, and the system gives its lock free."""
    for task in (*runner._tasks, *runner._running.values()):
        task.cancel()
    assert runner._lock is not None
    os.close(runner._lock)


def test_all_are_run_once_and_so_many_at_a_time(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    here, most = 0, 0

    async def work(_: Run) -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        await asyncio.sleep(0.01)
        here -= 1

    told.work = work
    for number in range(9):
        store.add(new(number))

    async def course(_: Runner) -> None:
        await until(ended(store))

    rows = run(tmp_path, store, course)
    assert [row.state for row in rows.values()] == ["succeeded"] * 9
    assert [row.attempts for row in rows.values()] == [1] * 9
    assert told.begun == [new(number).id for number in range(9)]
    assert most == 2


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (Refused({"code": "own_code", "message": "do this"}), "own_code", "do this"),
        (NotFinite("encode it again"), "not_finite", "encode it again"),
        (ZeroDivisionError("secret"), InternalError.code, "incident"),
    ],
)
def test_failures(
    tmp_path: Path, open_store: OpenStore, told: Told, raised: Exception, code: str, words: str
) -> None:
    store = open_store()

    async def work(_: Run) -> None:
        raise raised

    told.work = work
    store.add(new(1))

    async def course(_: Runner) -> None:
        await until(ended(store))

    row = run(tmp_path, store, course)[1]
    assert row.state == "failed"
    assert row.error is not None
    assert row.error["code"] == code
    assert words in row.error["message"]
    assert "secret" not in row.error["message"]


def test_a_job_that_takes_too_long_or_is_unknown_fails(
    tmp_path: Path, open_store: OpenStore, told: Told
) -> None:
    store = open_store()

    async def work(_: Run) -> None:
        await asyncio.sleep(60)

    told.work = work
    store.add(new(1))
    store.add(new(2, kind="of the future"))

    async def course(_: Runner) -> None:
        await until(ended(store))

    rows = run(tmp_path, store, course, timeout_s=0.05)
    errors = [rows[number].error or {} for number in (1, 2)]
    assert [error["code"] for error in errors] == ["timed_out", "unknown_kind"]


def test_what_cannot_be_done_now_is_done_later(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    left = [Again(0.0), Again(0.0, interrupted=True)]

    async def work(_: Run) -> None:
        if left:
            raise left.pop(0)

    told.work = work
    store.add(new(1))

    async def course(_: Runner) -> None:
        await until(ended(store))

    row = run(tmp_path, store, course)[1]
    assert (row.state, row.attempts, row.interruptions) == ("succeeded", 2, 1)
    assert len(told.begun) == 3


def test_cancel_ends_a_run(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    cleaned = []

    async def work(run_: Run) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(run_.record.id)

    told.work = work
    job, _ = store.add(new(1))
    other, _ = store.add(new(2))

    async def course(runner: Runner) -> None:
        await until(lambda: len(told.begun) == 2)
        store.ask_cancel(job.id, "", keep_s=10)
        runner.cancel(job.id)
        await until(lambda: store.get(job.id).finished)
        assert not store.get(other.id).finished

    rows = run(tmp_path, store, course)
    assert rows[1].state == "cancelled"
    assert cleaned[0] == job.id
    assert (rows[2].state, rows[2].attempts, rows[2].interruptions) == (
        "queued",
        0,
        0,
    )  # stopped, not cancelled


def test_another_server_cancels(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    """The row alone tells the server that runs the job."""
    store = open_store()

    async def work(_: Run) -> None:
        await asyncio.sleep(60)

    told.work = work
    job, _ = store.add(new(1))

    async def course(_: Runner) -> None:
        await until(lambda: bool(told.begun))
        open_store().ask_cancel(job.id, "", keep_s=10)
        await until(lambda: store.get(job.id).finished)

    assert run(tmp_path, store, course, lease_s=0.6)[1].state == "cancelled"


def test_the_next_server_goes_on_where_this_one_died(
    tmp_path: Path, open_store: OpenStore, told: Told
) -> None:
    store = open_store()
    alive = True

    async def work(_: Run) -> None:
        if alive:
            await asyncio.sleep(60)

    told.work = work
    for number in range(6):
        store.add(new(number))

    async def first() -> None:
        runner = make_runner(tmp_path, store)
        await runner.start()
        await until(lambda: len(told.begun) == 2)
        die(runner)

    asyncio.run(first())
    assert sorted(record.state for record in store.page("", limit=9)) == ["queued"] * 4 + ["running"] * 2
    alive = False

    async def course(_: Runner) -> None:
        await until(ended(store))

    rows = run(tmp_path, store, course)
    assert [row.state for row in rows.values()] == ["succeeded"] * 6
    counted = {number: (row.attempts, row.interruptions) for number, row in rows.items()}
    assert counted == {0: (2, 1), 1: (2, 1), 2: (1, 0), 3: (1, 0), 4: (1, 0), 5: (1, 0)}
    assert sorted(told.begun) == sorted([new(number).id for number in (0, 0, 1, 1, 2, 3, 4, 5)])


def test_a_living_server_keeps_its_jobs(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    go = asyncio.Event()

    async def work(_: Run) -> None:
        await go.wait()

    told.work = work
    store.add(new(1))

    async def course() -> None:
        first, second = make_runner(tmp_path, store), make_runner(tmp_path, open_store())
        await first.start()
        await until(lambda: bool(told.begun))
        await second.start()
        await asyncio.sleep(0.3)
        go.set()
        await until(ended(store))
        await first.stop()
        await second.stop()

    asyncio.run(course())
    assert len(told.begun) == 1
    assert store.get(new(1).id).interruptions == 0


def test_a_job_that_ends_its_servers_is_given_up(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    job, _ = store.add(new(1))
    for server in ("one", "two"):
        store.claim("requests", server, 30)
        store.recover([server])

    async def course(_: Runner) -> None:
        await until(ended(store))

    row = run(tmp_path, store, course, attempts=2)[1]
    assert (row.state, (row.error or {})["code"]) == ("failed", "interrupted")
    assert (told.begun, told.discarded) == ([], [job.id])


def test_a_job_cancelled_while_no_server_ran_leaves_nothing(
    tmp_path: Path, open_store: OpenStore, told: Told
) -> None:
    store = open_store()
    job, _ = store.add(new(1))
    store.claim("requests", "dead", 30)
    store.ask_cancel(job.id, "", keep_s=10)

    async def course(_: Runner) -> None:
        await until(ended(store))

    assert run(tmp_path, store, course)[1].state == "cancelled"
    assert (told.begun, told.discarded) == ([], [job.id])


def test_progress_is_told_and_kept(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    go = asyncio.Event()

    async def work(run_: Run) -> None:
        run_.report(Progress(1, 4, "steps"))
        await go.wait()

    told.work = work
    job, _ = store.add(new(1))

    async def course(runner: Runner) -> None:
        event = runner.listen(job.id)
        await asyncio.wait_for(event.wait(), 20)
        await until(lambda: job.id in runner.news)
        assert runner.news[job.id] == Progress(1, 4, "steps")
        await until(lambda: store.get(job.id).progress.done == 1)  # the row learns it a little later
        event.clear()
        go.set()
        await asyncio.wait_for(event.wait(), 20)
        runner.forget(job.id, event)
        await until(ended(store))
        assert job.id not in runner.news

    assert run(tmp_path, store, course)[1].progress == Progress(4, 4, "steps")


def test_a_disk_that_fails_for_a_while_loses_no_job(
    tmp_path: Path, open_store: OpenStore, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    monkeypatch.setattr(runner_module, "IDLE_S", 0.05)
    finish, failures = store.finish, [1, 2, 3]

    def failing(*arguments: Any, **options: Any) -> bool:
        if failures:
            failures.pop()
            raise sqlite3.OperationalError("database or disk is full")
        return finish(*arguments, **options)

    monkeypatch.setattr(store, "finish", failing)
    store.add(new(1))

    async def course(_: Runner) -> None:
        await until(ended(store))

    row = run(tmp_path, store, course)[1]
    assert (row.state, row.attempts, told.begun) == ("succeeded", 1, [row.id])


def test_folders_go_with_their_jobs(tmp_path: Path, open_store: OpenStore, told: Told) -> None:
    store = open_store()
    job, _ = store.add(new(1))

    async def course(runner: Runner) -> None:
        folder = runner._folders.of(job.id)
        folder.mkdir()
        await until(ended(store))
        await until(lambda: not folder.exists())

    assert run(tmp_path, store, course, keep_s=-1.0, lease_s=0.6) == {}


def test_a_runner_that_stopped_leaves_no_lock(tmp_path: Path, open_store: OpenStore) -> None:
    async def course(runner: Runner) -> None:
        (path,) = (tmp_path / "servers").iterdir()
        assert locks.is_held(path)

    run(tmp_path, open_store(), course)
    assert list((tmp_path / "servers").iterdir()) == []
