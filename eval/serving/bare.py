"""The bare loop: the same codecs and the same network without a server, as fast as one process does them.

``python -m eval.serving.bare`` reads plans (a JSON list) from its input and writes timings to its output. Codecs run in
threads while the network works on another batch; nothing waits for a request.
"""

from __future__ import annotations

import collections
import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.serving.work import Work, WorkConfig
from tokenizer.core.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

AHEAD = 2  # batches that the codecs are ahead of the network, and behind it


class BarePlan(Config):
    """What is timed.

    Attributes:
        work: operation and model.
        bodies: files of requests, taken in turn.
        batch_sizes: of the throughput; none: it is not timed.
        calls: single requests, one after the other, of the latency; 0: it is not timed.
        seconds: of the throughput at each batch size.
        warmup: calls, and batches, that are not counted.
    """

    work: WorkConfig
    bodies: tuple[Path, ...]
    batch_sizes: tuple[int, ...] = ()
    calls: int = 0
    seconds: float = 3.0
    warmup: int = 3


class BareReport(Config):
    """Requests a second by batch size; seconds of single calls from body to answer."""

    per_s: dict[int, float]
    latencies_s: tuple[float, ...]

    @property
    def best(self) -> tuple[int, float]:
        """The batch size with most requests a second, and these."""
        return max(self.per_s.items(), key=lambda item: item[1])


def measure(plan: BarePlan) -> BareReport:
    """Carry the plan out in this process."""
    work = Work(plan.work)
    bodies = [path.read_bytes() for path in plan.bodies]
    latencies = []
    for index in range(plan.warmup + plan.calls if plan.calls else 0):
        start = time.perf_counter()
        work.after(work.core([work.before(bodies[index % len(bodies)])])[0])
        if index >= plan.warmup:
            latencies.append(time.perf_counter() - start)
    per_s = {size: throughput(work, bodies, size, plan.seconds, plan.warmup) for size in plan.batch_sizes}
    return BareReport(per_s=per_s, latencies_s=tuple(latencies))


def throughput(
    work: Work, bodies: Sequence[bytes], batch_size: int, seconds: float, warmup: int = 2
) -> float:
    """Requests a second: bodies are read ahead of the network and answers written behind it, in threads."""
    source = itertools.cycle(bodies)
    ahead: collections.deque[Future[Any]] = collections.deque()
    behind: collections.deque[Future[bytes]] = collections.deque()

    def batches() -> Iterator[list[Any]]:
        while True:
            while len(ahead) < (AHEAD + 1) * batch_size:
                ahead.append(work.pool.submit(work.before, next(source)))
            yield [ahead.popleft().result() for _ in range(batch_size)]

    done, start = 0, 0.0
    for turn, batch in enumerate(batches()):
        behind.extend(work.pool.submit(work.after, array) for array in work.core(batch))
        while len(behind) > AHEAD * batch_size:
            behind.popleft().result()
            done += 1
        if turn + 1 == warmup or warmup == 0 == turn:
            done, start = 0, time.perf_counter()
        elif turn >= warmup and time.perf_counter() - start >= seconds:
            break
    spent = time.perf_counter() - start
    for future in (*ahead, *behind):
        future.cancel()
    return done / spent


def main() -> None:
    """The process."""
    reports = [measure(BarePlan.parse(facts)) for facts in json.load(sys.stdin)]
    json.dump([report.model_dump(mode="json") for report in reports], sys.stdout)


if __name__ == "__main__":
    main()
