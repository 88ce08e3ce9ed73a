"""The desk: one call after the other, off the event loop."""

import asyncio
import threading

from service.jobs.desk import Desk
from tests.service.jobs.conftest import OpenStore, new


def test_calls_are_made_in_order_in_one_other_thread(open_store: OpenStore) -> None:
    async def course() -> None:
        desk = Desk(open_store())
        threads: list[int] = []

        def add(number: int) -> str:
            threads.append(threading.get_ident())
            return f"job {number}"

        found = await asyncio.gather(*(desk(lambda _, number=number: add(number)) for number in range(20)))
        assert found == [f"job {number}" for number in range(20)]
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()
        record, _ = await desk(lambda store: store.add(new(1)))
        assert await desk(lambda store: store.ids()) == {record.id}
        await desk.close()

    asyncio.run(course())
