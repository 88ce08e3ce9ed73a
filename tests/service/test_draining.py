"""Draining: no new work, the house empties, and whoever waits for that is told."""

import asyncio

import pytest

from service.draining import Drain
from service.errors import Draining


def test_before_the_end_everything_passes() -> None:
    drain = Drain()
    drain.refuse_work("POST")
    drain.refuse_readiness()
    assert not drain.begun


def test_new_work_is_refused_and_looking_is_not() -> None:
    drain = Drain()
    drain.begin()
    with pytest.raises(Draining) as told:
        drain.refuse_work("POST")
    assert (told.value.status, told.value.headers["retry-after"]) == (503, "5")
    with pytest.raises(Draining):
        drain.refuse_readiness()
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        drain.refuse_work(method)


def test_an_empty_house_is_done_at_once() -> None:
    assert asyncio.run(Drain().finish(60.0, 0.0))


def test_the_last_request_ends_the_wait() -> None:
    async def course() -> tuple[bool, bool]:
        drain = Drain()
        drain.enter()
        drain.enter()
        ending = asyncio.create_task(drain.finish(600.0, 0.0))
        await asyncio.sleep(0.01)
        drain.leave()
        await asyncio.sleep(0.01)
        early = ending.done()
        drain.leave()
        return early, await ending

    assert asyncio.run(course()) == (False, True)


def test_time_runs_out() -> None:
    async def course() -> bool:
        drain = Drain()
        drain.enter()
        return await drain.finish(0.01, 0.0)

    assert not asyncio.run(course())


def test_the_delay_is_kept_even_by_an_empty_house() -> None:
    async def course() -> tuple[bool, bool]:
        drain = Drain()
        ending = asyncio.create_task(drain.finish(600.0, 0.05))
        await asyncio.sleep(0.01)
        return drain.begun, ending.done()

    assert asyncio.run(course()) == (True, False)
