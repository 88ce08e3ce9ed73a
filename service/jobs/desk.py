"""The store behind one thread, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.jobs.store import JobStore

T = TypeVar("T")


class Desk:
    """Calls what it is given with the store, one call after the other.

    Args:
        store: used by this alone from now on.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "jobs")

    async def __call__(self, work: Callable[[JobStore], T]) -> T:
        """What ``work`` gives; a caller that is cancelled meanwhile does not undo it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        await self(lambda store: store.close())
        self._thread.shutdown()
