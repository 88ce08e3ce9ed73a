"""Random shapes for minutes: whether memory grows."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from eval.serving import servers
from eval.serving.bodies import latent_file, picture, picture_file
from eval.serving.latencies import Outcome
from eval.serving.load import Asked
from eval.serving.memory import growth_per_minute
from eval.serving.processes import write_body
from eval.serving.record import Claim, Table
from eval.serving.session import MEASURED, spec_id_of
from tokenizer.core import checkpoint

if TYPE_CHECKING:
    from eval.serving.processes import Running
    from eval.serving.session import Session

SHAPES = 96
SMALLEST, LARGEST = 17, 384
CONNECTIONS = 8
EVERY_S = 1.0
GROWTH = 0.05
ENOUGH_MINUTES = 10.0  # below it a heap that is still settling looks like a leak
MIB = 2**20
COLUMNS = (
    "minutes",
    "requests",
    "failed",
    "first MiB",
    "after a third MiB",
    "last MiB",
    "most MiB",
    "MiB a minute",
)


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """Memory of all processes of the server, once a second."""
    seconds = 60 * session.config.soak_minutes
    requests = shapes(session)
    plan = replace(session.closed(requests, CONNECTIONS), seconds=seconds)
    with session.ours() as server:
        sizes = _watched(server, plan.seconds, loading := server.start_load(plan))
        outcome = Outcome.of(loading.samples(), 0.0, seconds)
    settled = sizes[len(sizes) // 3 :]
    slope = growth_per_minute(settled)
    failed = outcome.failed + outcome.unanswered
    row = (
        session.config.soak_minutes,
        outcome.sent,
        failed,
        *(size / MIB for size in (sizes[0][1], settled[0][1], sizes[-1][1], max(size for _, size in sizes))),
        None if slope is None else slope / MIB,
    )
    grown = float("nan")
    if slope is not None and session.config.soak_minutes >= ENOUGH_MINUTES:
        grown = 100 * slope * (settled[-1][0] - settled[0][0]) / 60 / settled[0][1]
    notes = (
        f"{CONNECTIONS} connections, {SHAPES} random sides from {SMALLEST} to {LARGEST}, encode, decode and "
        "reconstruct to four formats. Memory: proportional set sizes of all processes of the server; the slope is a "
        f"straight line through the last two thirds. Below {ENOUGH_MINUTES:g} minutes it decides nothing.",
    )
    claims = [
        Claim.at_most(
            f"{session.config.soak_minutes:g} minutes of random shapes: memory grows <= 5 % after the first third",
            grown,
            100 * GROWTH,
            "%",
        ),
        Claim.at_most("random shapes: every request is answered", failed, 0, "failed"),
    ]
    return [Table(title="Random shapes for minutes", columns=COLUMNS, rows=(row,), notes=notes)], claims


def shapes(session: Session) -> list[Asked]:
    """Requests of random shapes and formats."""
    drawn = random.Random(session.config.seed)
    config, spec_id = checkpoint.read_config(session.tokenizer), spec_id_of(session.tokenizer)
    requests = []
    for index in range(SHAPES):
        height, width = drawn.randint(SMALLEST, LARGEST), drawn.randint(SMALLEST, LARGEST)
        operation = drawn.choice(("encode", "decode", "reconstruct"))
        if operation == "decode":
            body = latent_file(config, spec_id, height, index)
        else:
            body = picture_file(picture(height, width, index), drawn.choice(("PNG", "JPEG", "WEBP")))
        output = drawn.choice(("png", "jpeg", "webp", "npy"))
        target = servers.TARGETS[operation].format(model=MEASURED, output=output)
        requests.append(Asked(target, write_body(session.folder, f"soak-{index}.bin", body)))
    return requests


def _watched(server: Running, seconds: float, _: object) -> list[tuple[float, int]]:
    """(seconds, bytes) until the load ends."""
    start = time.monotonic()
    sizes: list[tuple[float, int]] = []
    while (at := time.monotonic() - start) < seconds or not sizes:
        size = server.resident_bytes()
        if size is not None:
            sizes.append((at, size))
        elif not sizes:
            return [(0.0, 0)]
        time.sleep(EVERY_S)
    return sizes
