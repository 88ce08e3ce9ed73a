"""Twice as many requests as the server can carry: what it still does, how fast it refuses, whether it stays alive.

Once alone, and once while pictures of 4096 x 4096 are encoded as PNG.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.serving.latencies import Outcome
from eval.serving.parts.liveness import huge_request, probe_quantiles
from eval.serving.record import Cell, Claim, Table

if TYPE_CHECKING:
    from eval.serving.load import Asked
    from eval.serving.processes import Running
    from eval.serving.session import Session

FACTOR = 2.0
GOODPUT, REFUSAL_MS, LIVE_MS = 0.95, 10.0, 50.0
COLUMNS = (
    "load",
    "arrivals/s",
    "answered/s",
    "of capacity",
    "refused",
    "refusal p50 ms",
    "refusal p99 ms",
    "live p50 ms",
    "live p99 ms",
    "PNGs",
)


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """Capacity, then twice that, alone and beside large PNGs."""
    config = session.config
    work = session.work("decode")
    requests = session.for_ours(work, session.requests(work))
    with session.ours(queue_requests=config.concurrency) as server:
        plan = session.closed(requests, 2 * config.max_batch)
        capacity = Outcome.of(server.load(plan), config.warmup_s, plan.seconds).per_s
        alone = _overloaded(session, server, requests, capacity, None)
        beside = _overloaded(session, server, requests, capacity, huge_request(session))
    rows = [_row("alone", *alone, capacity), _row("beside 4096 x 4096 PNGs", *beside, capacity)]
    notes = (
        f"Decoding to JPEG. Capacity: {capacity:.4g} requests/s in a closed loop of two batches. Then Poisson arrivals "
        f"of {FACTOR:g} times that; at most {config.concurrency} requests may wait (TESSERA_QUEUE_REQUESTS). "
        "/health/live is asked every 20 ms meanwhile. PNGs: whole requests that reconstruct 4096 x 4096 pixels through "
        "the nearly free network, finished in that time; their work is not counted as answered.",
    )
    claims = []
    for name, (outcome, (_, live), _) in (("alone", alone), ("beside PNGs", beside)):
        share = outcome.per_s / capacity if capacity else math.nan
        claims += [
            Claim.at_least(f"twice the capacity, {name}: goodput >= 95 %", 100 * share, 100 * GOODPUT, "%"),
            Claim.at_most(
                f"twice the capacity, {name}: refusals < 10 ms (p99)",
                outcome.refusal_p99_ms,
                REFUSAL_MS,
                "ms",
            ),
            Claim.at_most(f"twice the capacity, {name}: /health/live p99 < 50 ms", live, LIVE_MS, "ms"),
        ]
    return [Table(title="Twice the capacity", columns=COLUMNS, rows=tuple(rows), notes=notes)], claims


def _overloaded(
    session: Session, server: Running, requests: list[Asked], capacity: float, huge: Asked | None
) -> tuple[Outcome, tuple[float, float], int]:
    """Outcome, (p50, p99) of /health/live, PNGs finished."""
    config = session.config
    plan = session.open_loop(requests, max(FACTOR * capacity, 0.1))
    probe = server.start_load(session.probe(plan.seconds))
    pictures = None if huge is None else server.start_load(session.closed([huge], 1))
    outcome = Outcome.of(server.load(plan), config.warmup_s, plan.seconds)
    live = probe_quantiles(probe.samples(), config.warmup_s)
    done = 0 if pictures is None else sum(sample.status == 200 for sample in pictures.samples())
    return outcome, live, done


def _row(
    name: str, outcome: Outcome, live: tuple[float, float], pictures: int, capacity: float
) -> tuple[Cell, ...]:
    return (
        name,
        FACTOR * capacity,
        outcome.per_s,
        outcome.per_s / capacity if capacity else None,
        outcome.refused,
        outcome.refusal_p50_ms,
        outcome.refusal_p99_ms,
        *live,
        pictures,
    )
