"""How many requests a second the server itself can carry, when the network is nearly free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.serving.latencies import Outcome
from eval.serving.parts.payloads import payloads
from eval.serving.record import Claim, Table

if TYPE_CHECKING:
    from eval.serving.session import Session

COLUMNS = ("raw uint8", "requests/s", "us a request", "MB/s", "batch", "p50 ms", "bare requests/s")
NOTES = (
    "Closed loop of four batches. The model is an ordinary folder: patches of 64 x 64 through one linear map and one "
    "block of width 8. Bodies are npy, raw uint8 behind 128 bytes. Bare: the same model, codecs and cap, one process.",
)


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """Requests a second by size of body."""
    config = session.config
    cases = payloads(session)
    bare = session.bare([session.bare_plan(case.work, case.requests) for case in cases])
    rows = []
    with session.ours() as server:
        for case, reference in zip(cases, bare, strict=True):
            plan = session.closed(session.for_ours(case.work, case.requests), config.concurrency)
            outcome = Outcome.of(server.load(plan), config.warmup_s, plan.seconds)
            per_s = outcome.per_s
            rows.append(
                (
                    case.title,
                    per_s,
                    1e6 / per_s if per_s else None,
                    per_s * case.num_bytes / 1e6,
                    outcome.batch_size,
                    outcome.p50_ms,
                    reference.best[1],
                )
            )
    table = Table(
        title="Ceiling: a network that is nearly free", columns=COLUMNS, rows=tuple(rows), notes=NOTES
    )
    return [table], []
