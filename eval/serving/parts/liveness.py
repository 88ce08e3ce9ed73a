"""Whether the server answers at once while its processors are busy with a huge PNG."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from eval.serving import servers
from eval.serving.bodies import picture, picture_file
from eval.serving.latencies import quantile
from eval.serving.load import Asked
from eval.serving.processes import write_body
from eval.serving.record import Claim, Table
from eval.serving.session import FREE, MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.serving.load import Sample
    from eval.serving.session import Session

SIDE = 4096
LIVE_MS = 50.0
COLUMNS = ("meanwhile", "asked", "p50 ms", "p99 ms", "slowest ms", "PNGs", "s a PNG")


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """/health/live at rest, and while large PNGs are encoded."""
    config = session.config
    seconds = config.warmup_s + config.seconds
    with session.ours() as server:
        rest = server.load(session.probe(seconds))
        plan = replace(session.closed([huge_request(session)], 2), drain_s=60.0)
        pictures = server.start_load(plan)
        busy = server.load(session.probe(seconds))
        done = [sample for sample in pictures.samples() if sample.status == 200]
    rows = []
    for name, samples, made in (("nothing", rest, []), (f"{SIDE} x {SIDE} PNGs", busy, done)):
        p50, p99 = probe_quantiles(samples, config.warmup_s)
        slowest = max(
            (1000 * sample.latency_s for sample in samples if sample.at >= config.warmup_s), default=None
        )
        each = sum(sample.latency_s for sample in made) / len(made) if made else None
        rows.append((name, len(samples), p50, p99, slowest, len(made), each))
    live = float("nan") if not done else probe_quantiles(busy, config.warmup_s)[1]
    notes = (
        "GET /health/live every 20 ms from a process of its own, latency from the time it was due. The PNGs are "
        "answers to /v1/reconstruct through the nearly free network, two at a time. No MP4: no model here makes video.",
    )
    claim = Claim.at_most("/health/live p99 < 50 ms while 4096 x 4096 PNGs are encoded", live, LIVE_MS, "ms")
    return [Table(title="Alive while it encodes", columns=COLUMNS, rows=tuple(rows), notes=notes)], [claim]


def huge_request(session: Session) -> Asked:
    """Reconstruct 4096 x 4096 pixels, sent as JPEG, to PNG."""
    path = session.folder / "huge.jpg"
    if not path.is_file():
        write_body(
            session.folder,
            path.name,
            picture_file(picture(SIDE, SIDE, session.config.seed), "JPEG", quality=80),
        )
    model = MEASURED if session.free == session.tokenizer else FREE
    target = servers.TARGETS["reconstruct"].format(model=model, output="png")
    return Asked(target, str(path), {"content-type": "image/jpeg"})


def probe_quantiles(samples: Sequence[Sample], warmup_s: float) -> tuple[float, float]:
    """(p50, p99) in ms of a probe; one that was not answered counts as the slowest."""
    latencies = [
        1000 * sample.latency_s if sample.status == 200 else float("inf")
        for sample in samples
        if sample.at >= warmup_s
    ]
    return quantile(latencies, 0.5), quantile(latencies, 0.99)
