"""Which cores the server gets and which the load generator; a measurement is worth little without knowing."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Fewer than this are shared: one core for a server of several processes would measure the scheduler.
FEWEST_TO_SPLIT = 4
MAX_CLIENT_CORES = 4


@dataclass(frozen=True, slots=True)
class Cores:
    """A split.

    Attributes:
        server, client: cores that each is pinned to; None shares all.
        threads: of the network, in every server and in the bare loop alike.
    """

    server: tuple[int, ...] | None
    client: tuple[int, ...] | None
    threads: int

    def sentence(self) -> str:
        """For the report."""
        threads = f"the network runs on {self.threads} thread{'s' if self.threads > 1 else ''} everywhere"
        if self.server is None or self.client is None:
            return f"nothing is pinned: servers, the bare loop and the load generator share all cores, and {threads}"
        return (
            f"servers and the bare loop are pinned to cores {_listed(self.server)}, the load generator to "
            f"{_listed(self.client)}; {threads}"
        )


def available() -> tuple[int, ...]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def split(cores: Sequence[int], threads: int | None = None) -> Cores:
    """Give a quarter of the cores to the client where there are at least four; share them otherwise.

    Args:
        cores: that there are.
        threads: of the network; the server's cores by default, where shared one less than there are.
    """
    if len(cores) < FEWEST_TO_SPLIT or not hasattr(os, "sched_setaffinity"):
        return Cores(None, None, threads or max(1, len(cores) - 1))
    count = min(MAX_CLIENT_CORES, len(cores) // 4)
    server, client = tuple(cores[:-count]), tuple(cores[-count:])
    return Cores(server, client, threads or len(server))


@contextlib.contextmanager
def pinned(cores: Sequence[int] | None) -> Iterator[None]:
    """Processes that this thread starts inside the block keep to these cores."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(str(core) for core in cores)
