"""The load generator: a process of its own, so that it competes with what it measures for cores and nothing else.

``python -m eval.serving.load`` reads a plan (JSON) from its input and writes what happened to its output. Standard
library only, so it starts at once. Clocks are ``time.perf_counter`` from the start of the load.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from eval.serving.connection import BROKEN, Connection, Reply, request_bytes

Mode = Literal["closed", "open", "storm"]
MAX_CONNECTIONS = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: where to, with what; ``body`` is a file."""

    target: str
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Plan:
    """A load.

    Attributes:
        host, port: of the server.
        requests: taken in turn.
        mode: ``closed``: each connection sends its next request when it has its answer. ``open``: requests come as a
            Poisson process of ``rate`` a second whatever the answers do. ``storm``: ``connections`` requests at once,
            of which every second one goes away after ``vanish_after_s``; none goes away without it.
        connections: of ``closed`` and ``storm``.
        rate: a second, of ``open``; ``every_s`` instead sends at even distances.
        seconds: for which requests are sent.
        drain_s: for which answers are waited for after that.
        cores: that this process keeps to.
        seed: of the arrivals.
    """

    host: str
    port: int
    requests: list[Asked]
    mode: Mode = "closed"
    connections: int = 1
    rate: float = 0.0
    every_s: float | None = None
    seconds: float = 5.0
    drain_s: float = 20.0
    vanish_after_s: float | None = None
    cores: list[int] | None = None
    seed: int = 0

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Plan:  # JSON that this project wrote
        """Read what ``asdict`` gave."""
        return cls(**{**facts, "requests": [Asked(**asked) for asked in facts["requests"]]})


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        at: when it was due, seconds from the start: of ``open`` the scheduled arrival, else when it was sent.
        latency_s: from ``at`` to the last byte of the answer.
        status: of the answer; 0 if there was none.
        num_bytes: of its body.
        batch_size: that the server told; 0 if it did not.
        retry_after_ms: that a refusal told; 0 if it did not.
    """

    at: float
    latency_s: float
    status: int
    num_bytes: int
    batch_size: int = 0
    retry_after_ms: int = 0


class Load:
    """Carries a plan out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        host = f"{plan.host}:{plan.port}"
        self._messages = [
            request_bytes(
                asked.method,
                asked.target,
                host,
                asked.headers,
                Path(asked.body).read_bytes() if asked.body else b"",
            )
            for asked in plan.requests
        ]
        self._samples: list[Sample] = []
        self._opened: list[Connection] = []
        self._idle: list[Connection] = []
        self._start = 0.0
        self._turn = 0

    async def run(self) -> list[Sample]:
        """All samples, in the order of their answers."""
        modes = {"closed": self._closed, "open": self._open, "storm": self._storm}
        try:
            await modes[self._plan.mode]()
        finally:
            for connection in self._opened:
                connection.vanish()
            await asyncio.sleep(0)  # in which the loop closes them
        return self._samples

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _next(self) -> bytes:
        self._turn += 1
        return self._messages[(self._turn - 1) % len(self._messages)]

    async def _connect(self) -> Connection:
        connection = await Connection.open(self._plan.host, self._plan.port)
        self._opened.append(connection)
        return connection

    def _note(self, at: float, reply: Reply) -> None:
        wait = reply.headers.get("retry-after-ms", "0")
        batch = reply.headers.get("x-batch-size", "0")
        self._samples.append(
            Sample(at, self._now() - at, reply.status, reply.num_bytes, int(batch), int(float(wait)))
        )

    async def _closed(self) -> None:
        connections = [await self._connect() for _ in range(self._plan.connections)]
        self._start = time.perf_counter()

        async def loop(connection: Connection) -> None:
            while (at := self._now()) < self._plan.seconds:
                if not connection.is_open:
                    connection = await self._connect()
                reply = await connection.request(self._next())
                self._note(at, reply)
                if reply.status != 200:  # a server that refuses is not asked in a tight loop
                    await asyncio.sleep(0.01)

        work = [asyncio.create_task(loop(connection)) for connection in connections]
        await asyncio.wait(work, timeout=self._plan.seconds + self._plan.drain_s)
        await _end(work)

    async def _open(self) -> None:
        plan = self._plan
        drawn = random.Random(plan.seed)
        arrivals, at = [], 0.0
        while (at := at + (plan.every_s or drawn.expovariate(plan.rate))) < plan.seconds:
            arrivals.append(at)
        self._idle = [await self._connect() for _ in range(min(8, len(arrivals)))]
        self._start = time.perf_counter()
        work: list[asyncio.Task[None]] = []
        for at in arrivals:
            await asyncio.sleep(max(0.0, at - self._now()))
            work.append(asyncio.create_task(self._arrive(at, self._next())))
        if work:
            await asyncio.wait(work, timeout=plan.drain_s)
        await _end(work)

    async def _arrive(self, at: float, message: bytes) -> None:
        reply = BROKEN
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            if not connection.is_open:  # it was closed while idle
                connection = await self._connect()
            reply = await connection.request(message)
            if connection.is_open:
                self._idle.append(connection)
        except (asyncio.CancelledError, OSError):
            self._note(at, BROKEN)
            return
        self._note(at, reply)

    async def _storm(self) -> None:
        plan = self._plan
        connections = [await self._connect() for _ in range(plan.connections)]
        self._start = time.perf_counter()

        async def one(index: int) -> None:
            leaves = plan.vanish_after_s is not None and index % 2 == 1
            if leaves:
                asyncio.get_running_loop().call_later(plan.vanish_after_s or 0.0, connections[index].vanish)
            reply = await connections[index].request(self._next())
            if not leaves:
                self._note(0.0, reply)

        work = [asyncio.create_task(one(index)) for index in range(plan.connections)]
        await asyncio.wait(work, timeout=plan.drain_s)
        await _end(work)


async def _end(work: list[asyncio.Task[None]]) -> None:
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def carry_out(plan: Plan) -> list[Sample]:
    """Run a plan in this process."""
    if plan.cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, plan.cores)
    return asyncio.run(Load(plan).run())


def main() -> None:
    """The process."""
    samples = carry_out(Plan.of(json.load(sys.stdin)))
    json.dump([list(asdict(sample).values()) for sample in samples], sys.stdout)


if __name__ == "__main__":
    main()
