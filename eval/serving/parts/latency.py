"""What the server adds to one request at a time, by size of body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.serving.latencies import Outcome, quantile, worst
from eval.serving.parts.payloads import SMALL_BYTES, payloads
from eval.serving.record import Claim, Table

if TYPE_CHECKING:
    from eval.serving.session import Session

COLUMNS = (
    "raw uint8",
    "served p50 ms",
    "served p99 ms",
    "bare p50 ms",
    "added p50 ms",
    "added p99 ms",
    "requests",
)
NOTES = (
    "One connection, the next request when the answer is whole. Bare: the same codecs and network, called. Added: the "
    "difference of the quantiles. The network is nearly free, so it hides nothing.",
)
SMALL_LIMIT_MS, LARGE_LIMIT_MS = 1.5, 10.0


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """Added milliseconds by size of body."""
    config = session.config
    cases = payloads(session)
    bare = session.bare(
        [session.bare_plan(case.work, case.requests, calls=config.calls, batches=False) for case in cases]
    )
    rows = []
    small: list[float] = []
    large: list[float] = []
    with session.ours() as server:
        for case, reference in zip(cases, bare, strict=True):
            plan = session.closed(session.for_ours(case.work, case.requests), 1)
            outcome = Outcome.of(server.load(plan), config.warmup_s, plan.seconds)
            p50, p99 = (1000 * quantile(reference.latencies_s, share) for share in (0.5, 0.99))
            added = outcome.p50_ms - p50
            (small if case.num_bytes <= SMALL_BYTES else large).append(added)
            rows.append(
                (
                    case.title,
                    outcome.p50_ms,
                    outcome.p99_ms,
                    p50,
                    added,
                    outcome.p99_ms - p99,
                    outcome.answered,
                )
            )
    claims = [
        Claim.at_most("added p50 of one request up to 200 KB <= 1.5 ms", worst(small), SMALL_LIMIT_MS, "ms"),
        Claim.at_most("added p50 of one request of 3 MB <= 10 ms", worst(large), LARGE_LIMIT_MS, "ms"),
    ]
    return [
        Table(title="Latency of one request at a time", columns=COLUMNS, rows=tuple(rows), notes=NOTES)
    ], claims
