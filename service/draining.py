"""The end of a server: it says it is not ready, refuses new work, finishes what it has, and then ends."""

from __future__ import annotations

import asyncio
import time

from service.errors import Draining

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "DELETE")  # looking and cancelling are no new work


class Drain:
    """Counts the requests in the house and waits for the last one; used from the event loop only."""

    def __init__(self) -> None:
        self._in_house = 0
        self._begun = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def begun(self) -> bool:
        """Whether the server is on its way out."""
        return self._begun

    @property
    def in_house(self) -> int:
        """Requests that have come and are not answered yet."""
        return self._in_house

    def enter(self) -> None:
        """A request has come."""
        self._in_house += 1
        self._empty.clear()

    def leave(self) -> None:
        """A request has been answered."""
        self._in_house -= 1
        if not self._in_house:
            self._empty.set()

    def begin(self) -> None:
        """From now on ``refuse_work`` refuses."""
        self._begun = True

    def refuse_work(self, method: str) -> None:
        """Draining for a request that would bring new work; what only looks or cancels may pass."""
        if self._begun and method not in SAFE_METHODS:
            raise Draining(
                "the server is shutting down and takes no new work: ask again in a few seconds",
                details={"retry_after_s": 5},
            )

    def refuse_readiness(self) -> None:
        """Draining once the server is on its way out, so that balancers send nothing more."""
        if self._begun:
            raise Draining("the server is shutting down: ask another one", details={"retry_after_s": 5})

    async def finish(self, timeout_s: float, delay_s: float) -> bool:
        """Wait until the house is empty, at least ``delay_s`` and at most both together; False if it is not."""
        self.begin()
        await asyncio.sleep(delay_s)
        deadline = time.monotonic() + timeout_s
        while self._in_house:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._empty.wait()
            except TimeoutError:
                return False
        return True
