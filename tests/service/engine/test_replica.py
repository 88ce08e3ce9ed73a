"""A worker process and its successors: messages both ways, its end, and the pauses between starts."""

from __future__ import annotations

import asyncio
from typing import Any

from service.engine import replica as module
from service.engine.messages import Ready, Stop
from service.engine.replica import MAX_RESTART_DELAY_S, Closed, Replica
from service.engine.vitals import Vitals
from tests.service.engine.scripted import SETTINGS, Script, until


def test_it_speaks_hears_and_is_seen_to_end(script: Script) -> None:
    heard: list[object] = []

    async def course() -> None:
        worker = Replica(0, SETTINGS, lambda _, message: heard.append(message))
        await worker.launch(())
        await until(lambda: len(heard) == 1)
        assert isinstance(heard[0], Ready)
        worker.send("hello")
        await until(lambda: "hello" in script.received)
        script.spawned[0].process.theirs.send(Vitals({"total": 5}))
        await until(lambda: worker.pulse is not None)
        assert worker.pulse is not None
        assert worker.pulse[1].device_memory == {"total": 5}
        assert len(heard) == 1  # signs of life are no work
        worker.kill_if_alive("is tested")
        await until(lambda: len(heard) == 2)
        assert isinstance(heard[1], Closed)
        assert await worker.bury() == "signal 9"
        assert worker.status is worker.pulse is None

    asyncio.run(course())


def test_a_successor_is_not_blamed_for_what_was_said_before(script: Script) -> None:
    heard: list[object] = []

    async def course() -> None:
        worker = Replica(0, SETTINGS, lambda _, message: heard.append(message))
        await worker.launch(())
        await until(lambda: len(heard) == 1)
        await worker.launch(())
        await until(lambda: len(heard) == 2)
        script.spawned[0].process.kill()
        await asyncio.sleep(0.05)
        assert [type(message) for message in heard] == [Ready, Ready]
        await worker.stop()

    asyncio.run(course())


def test_it_is_asked_to_end_before_it_is_made_to(script: Script, monkeypatch: Any) -> None:
    async def course() -> None:
        worker = Replica(0, SETTINGS, lambda *_: None)
        await worker.stop()  # never started
        await worker.launch(())
        sent: list[object] = []
        monkeypatch.setattr(worker, "send", sent.append)
        await worker.stop()
        assert isinstance(sent[0], Stop)
        assert sent[1] is module.CLOSED

    asyncio.run(course())


def test_starts_that_fail_again_and_again_are_further_and_further_apart() -> None:
    worker = Replica(0, SETTINGS, lambda *_: None)
    delays = [worker.next_delay_s() for _ in range(10)]
    assert delays[:4] == [0.0, 1.0, 2.0, 4.0]
    assert delays[-1] == MAX_RESTART_DELAY_S
