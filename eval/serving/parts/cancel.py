"""Half of the clients vanish: how much work is done for nobody.

A wall of requests comes at once. All stay; or only half of them come; or all come and every second one goes away. What
the last takes longer than half of them, beyond what was done for the others before they went, was wasted.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eval.serving.load import Plan
from eval.serving.processes import HOST
from eval.serving.record import Claim, Table

if TYPE_CHECKING:
    from eval.serving.load import Asked
    from eval.serving.processes import Running
    from eval.serving.session import Session

REPEATS = 3
STAY_SHARE = 0.25  # of the time that half of them take: when the others go
COLUMNS = (
    "operation",
    "requests",
    "all stay s",
    "half come s",
    "half vanish s",
    "wasted s",
    "wasted requests",
    "survivors",
)


@dataclass(frozen=True, slots=True)
class Storm:
    """Seconds until the last answer: everybody, half of them, and half of them after the others went at ``left_s``."""

    everybody_s: float
    half_s: float
    storm_s: float
    left_s: float

    @property
    def wasted_s(self) -> float:
        """Spent on those who went, after they went: before that, half of all work was for them."""
        return max(0.0, self.storm_s - self.half_s - self.left_s / 2)


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """Generation where there is a generator, decoding."""
    rows, claims = [], []
    cap = session.config.max_batch
    count = 4 * cap
    with session.ours() as server:
        for operation in [name for name in ("decode", "generate") if name in session.config.operations]:
            work = session.work("generate" if operation == "generate" else "decode")
            requests = session.for_ours(work, session.requests(work))
            storm, survivors = _storm(server, requests, count)
            each = storm.everybody_s / count
            wasted = storm.wasted_s / each
            rows.append(
                (
                    operation,
                    count,
                    storm.everybody_s,
                    storm.half_s,
                    storm.storm_s,
                    storm.wasted_s,
                    wasted,
                    f"{survivors} of {count // 2}",
                )
            )
            claims.append(
                Claim.at_most(
                    f"{operation}: half vanish, at most one batch ({cap}) wasted", wasted, cap, "requests"
                )
            )
    notes = (
        f"All requests at once; every second connection is closed at {STAY_SHARE:g} of what half of them take. "
        f"Medians of {REPEATS}. Wasted: time beyond that of half of them and beyond the half of the work that was for "
        "the others before they went; in requests, at what a request takes when all stay.",
    )
    return [Table(title="Half of the clients vanish", columns=COLUMNS, rows=tuple(rows), notes=notes)], claims


def _storm(server: Running, requests: list[Asked], count: int) -> tuple[Storm, int]:
    full = Plan(HOST, 0, requests, "storm", connections=count, seconds=0.0, drain_s=300.0)
    _last(server, full)
    everybody = statistics.median(_last(server, full)[0] for _ in range(REPEATS))
    half = statistics.median(_last(server, replace(full, connections=count // 2))[0] for _ in range(REPEATS))
    left = STAY_SHARE * half
    storms = [_last(server, replace(full, vanish_after_s=left)) for _ in range(REPEATS)]
    survivors = min(answered for _, answered in storms)
    return Storm(everybody, half, statistics.median(spent for spent, _ in storms), left), survivors


def _last(server: Running, plan: Plan) -> tuple[float, int]:
    """(seconds until the last answer, answers with status 200)."""
    samples = server.load(plan)
    good = [sample.latency_s for sample in samples if sample.status == 200]
    return max(good, default=float("nan")), len(good)
