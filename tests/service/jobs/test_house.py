"""The house: jobs taken, shown and forgotten, the server's own key, and where it is reached."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.jobs.errors import JobsOff, NoResult, UnknownDataSet, UnknownJob
from service.jobs.folders import BODY
from service.jobs.house import JobHouse, fingerprint, require
from service.jobs.kind import Run
from service.settings import Settings
from tests.service.jobs.conftest import Told, no_app, until


def make_house(tmp_path: Path, **settings: Any) -> JobHouse:
    chosen = Settings(state=str(tmp_path / "state"), data=f"photos={tmp_path}", **settings)
    return JobHouse(chosen, None, lambda: True)  # type: ignore[arg-type]  # no kind here asks for models


def within(tmp_path: Path, course: Callable[[JobHouse], Awaitable[None]], **settings: Any) -> None:
    async def whole() -> None:
        house = make_house(tmp_path, **settings)
        await house.start(no_app)
        try:
            await course(house)
        finally:
            await house.stop()

    asyncio.run(whole())


def test_from_taking_to_forgetting(tmp_path: Path, told: Told) -> None:
    go = asyncio.Event()

    async def work(run: Run) -> None:
        await go.wait()
        (run.folder / "result").write_bytes((run.folder / BODY).read_bytes())

    told.work = work

    async def course(house: JobHouse) -> None:
        job, created = await house.submit("told", "me", {"a": 1}, body=b"bytes", key="k")
        assert created
        again, created = await house.submit("told", "me", {"a": 1}, body=b"bytes", key="k")
        assert (again.id, created) == (job.id, False)
        assert [path.name for path in (tmp_path / "state" / "jobs").iterdir()] == [job.id]
        with pytest.raises(NoResult, match="has not ended"):
            house.result_of(job)
        with pytest.raises(UnknownJob):
            await house.get(job.id, "you")
        news = [shown["status"] async for shown in _few(house.follow(job.id, "me"), go)]
        assert news[-1] == "completed"
        done = await house.get(job.id, "me")
        assert house.result_of(done).read_bytes() == b"bytes"
        assert [record.id for record in await house.page("me", limit=5)] == [job.id]
        await house.delete(job.id, "me")
        assert list((tmp_path / "state" / "jobs").iterdir()) == []

    within(tmp_path, course)


async def _few(shown: Any, go: asyncio.Event) -> Any:
    async for one in shown:
        go.set()
        yield one


def test_the_line_is_shown(tmp_path: Path, told: Told) -> None:
    async def work(_: Run) -> None:
        await asyncio.sleep(60)

    told.work = work

    async def course(house: JobHouse) -> None:
        jobs = [(await house.submit("told", "", {"number": number}))[0] for number in range(3)]
        await until(lambda: bool(told.begun))
        shown = [await house.show(await house.get(job.id, "")) for job in jobs]
        assert [(one["status"], one["queue_position"]) for one in shown] == [
            ("in_progress", None),
            ("queued", 1),
            ("queued", 2),
        ]
        cancelled = await house.cancel(jobs[1].id, "")
        assert cancelled.state == "cancelled"
        assert (await house.show(await house.get(jobs[2].id, "")))["queue_position"] == 1

    within(tmp_path, course, job_places=1)


def test_what_cannot_be_taken_leaves_no_folder(tmp_path: Path, told: Told) -> None:
    async def course(house: JobHouse) -> None:
        with pytest.raises(Exception, match="files of all jobs"):
            await house.submit("told", "", {}, body=b"x" * (2**20 + 1))
        assert list((tmp_path / "state" / "jobs").iterdir()) == []

    within(tmp_path, course, job_disk_bytes=2**20)


def test_fingerprints_differ_with_everything() -> None:
    made = [
        fingerprint("encode", {"a": 1}, b"x"),
        fingerprint("decode", {"a": 1}, b"x"),
        fingerprint("encode", {"a": 2}, b"x"),
        fingerprint("encode", {"a": 1}, b"y"),
        fingerprint("encode", {"a": 1}, None),
    ]
    assert len(set(made)) == len(made)
    assert fingerprint("encode", {"a": 1, "b": 2}, b"x") == fingerprint("encode", {"b": 2, "a": 1}, b"x")


def test_the_own_key_is_kept_and_nobody_else_reads_it(tmp_path: Path) -> None:
    async def course() -> None:
        first = make_house(tmp_path)
        second = make_house(tmp_path)
        assert first.key == second.key
        assert first.is_own(first.key.encode())
        assert not first.is_own(b"another")
        for house in (first, second):
            await house.stop()

    asyncio.run(course())
    (path,) = (tmp_path / "state").glob("*.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:81"),
        ("0.0.0.0", "http://127.0.0.1:81"),
        ("::", "http://[::1]:81"),
        ("::1", "http://[::1]:81"),
        ("[::1]", "http://[::1]:81"),
        ("10.0.0.7", "http://10.0.0.7:81"),
    ],
)
def test_where_the_server_is_reached(tmp_path: Path, host: str, url: str) -> None:
    async def course() -> None:
        house = make_house(tmp_path, host=host, port=0, allow_open=True)
        house.listens_on(81)
        assert house.url() == url
        await house.stop()

    asyncio.run(course())


def test_data_sets_and_no_jobs_at_all(tmp_path: Path) -> None:
    async def course() -> None:
        house = make_house(tmp_path)
        assert house.data_set("photos") == "photos"
        with pytest.raises(UnknownDataSet, match="use one of photos"):
            house.data_set("other")
        assert require(house) is house
        await house.stop()

    asyncio.run(course())
    with pytest.raises(JobsOff, match="TESSERA_STATE"):
        require(None)


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ValueError, match="TESSERA_STATE="):
        make_house(tmp_path)


def test_a_server_on_its_way_out_begins_no_job_and_ends_its_streams(tmp_path: Path, told: Told) -> None:
    ending = False

    async def work(_: Run) -> None:
        await asyncio.sleep(60)

    told.work = work

    async def course() -> None:
        nonlocal ending
        settings = Settings(state=str(tmp_path / "state"), job_places=1)
        house = JobHouse(settings, None, lambda: True, lambda: ending)  # type: ignore[arg-type]  # as above
        await house.start(no_app)
        first, _ = await house.submit("told", "", {"number": 1})
        await until(lambda: bool(told.begun))
        await until(lambda: house.counts() == {("running",): 1})
        ending = True
        assert [shown["status"] async for shown in house.follow(first.id, "")] == ["in_progress"]
        await house.submit("told", "", {"number": 2})
        await house.cancel(first.id, "")  # its place is free now
        await until(lambda: house.counts() == {("cancelled",): 1, ("queued",): 1})
        await house.stop()

    asyncio.run(course())
    assert len(told.begun) == 1
