"""Throughput beside the bare loop, and throughput and latency beside other servers, at the same arrivals.

Ours is measured first: its capacity sets the arrivals of the open loop, the same for all. Answers of every server are
compared with the bare network's, so that nobody is fast at something else.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors.numpy import load as read_safetensors

from eval.serving import servers
from eval.serving.latencies import Outcome
from eval.serving.load import Asked
from eval.serving.record import Cell, Claim, Table

if TYPE_CHECKING:
    from eval.serving.bare import BareReport
    from eval.serving.processes import Running
    from eval.serving.session import Session
    from eval.serving.work import WorkConfig

EFFICIENCY = {"cpu": 0.90, "cuda": 0.95}
GENERATE_EFFICIENCY = {"cpu": 0.90, "cuda": 0.97}
COLUMNS = (
    "server",
    "requests/s",
    "of bare",
    "batch",
    "p50 ms",
    "p99 ms",
    "answered",
    "refused",
    "too late",
    "as ours",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A server on one operation: saturated, and under the common arrivals."""

    name: str
    saturated: Outcome
    steady: Outcome
    difference: float


def measure(session: Session) -> tuple[list[Table], list[Claim]]:
    """One table and its claims for every operation."""
    cases = [(session.work(operation), operation) for operation in session.config.operations]
    requests = [session.requests(work) for work, _ in cases]
    bare = session.bare(
        [session.bare_plan(work, asked) for (work, _), asked in zip(cases, requests, strict=True)]
    )
    ours, rates, answers = [], [], []
    with session.ours() as server:
        for (work, _), asked in zip(cases, requests, strict=True):
            aimed = session.for_ours(work, asked)
            answers.append(server.ask(aimed[0])[2])
            saturated = _saturated(session, server, aimed)
            rates.append(session.config.arrivals * saturated.per_s)
            ours.append(Standing(servers.OURS, saturated, _steady(session, server, aimed, rates[-1]), 0.0))
    tables, claims = [], []
    for index, (work, operation) in enumerate(cases):
        others, absent = _peers(session, work, requests[index], rates[index], answers[index])
        table = _table(session, operation, bare[index], rates[index], [ours[index], *others], absent)
        tables.append(table)
        claims += _claims(session, operation, bare[index], ours[index], others, absent)
    return tables, claims


def _saturated(session: Session, server: Running, requests: list[Asked]) -> Outcome:
    plan = session.closed(requests, session.config.concurrency)
    return Outcome.of(server.load(plan), session.config.warmup_s, plan.seconds)


def _steady(session: Session, server: Running, requests: list[Asked], rate: float) -> Outcome:
    plan = session.open_loop(requests, max(rate, 0.1))
    return Outcome.of(server.load(plan), session.config.warmup_s, plan.seconds)


def _peers(
    session: Session, work: WorkConfig, requests: list[Asked], rate: float, answer: bytes
) -> tuple[list[Standing], list[str]]:
    """Every peer that is installed, and a sentence for each that is not."""
    found, absent = [], []
    for name in session.config.peers:
        package = servers.missing(name)
        title, _, _, target = servers.PEERS[name]
        if package is not None:
            absent.append(f"{title}: not measured, {package} is not installed (pip install '.[peers]')")
            continue
        aimed = servers.aimed(requests, target)
        with session.peer(name, work, requests) as server:
            difference = unlike(answer, server.ask(aimed[0])[2])
            saturated = _saturated(session, server, aimed)
            steady = _steady(session, server, aimed, rate)
        found.append(Standing(title, saturated, steady, difference))
    return found, absent


def unlike(first: bytes, second: bytes) -> float:
    """Largest difference of two answers to one request: grey levels of pictures, values of latents; NaN if their
    shapes differ.
    """
    a, b = (_numbers(body) for body in (first, second))
    if a.shape != b.shape:
        return math.nan
    return float(np.max(np.abs(a - b)))


def _numbers(body: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if body[:3] == b"\xff\xd8\xff":
        with Image.open(io.BytesIO(body)) as image:
            return np.asarray(image, np.float64)
    return np.asarray(read_safetensors(body)["z"], np.float64)


def _table(
    session: Session,
    operation: str,
    bare: BareReport,
    rate: float,
    standings: list[Standing],
    absent: list[str],
) -> Table:
    size, best = bare.best
    rows: list[tuple[Cell, ...]] = [(f"bare loop, batch {size}", best, 1.0, size, *[None] * 6)]
    for one in standings:
        steady = one.steady
        rows.append(
            (
                one.name,
                one.saturated.per_s,
                one.saturated.per_s / best if best else None,
                one.saturated.batch_size or None,
                steady.p50_ms,
                steady.p99_ms,
                steady.answered,
                steady.refused,
                steady.unanswered + steady.failed,
                one.difference if one.name != servers.OURS else None,
            )
        )
    config = session.config
    work = f"{config.num_steps} steps, guidance {config.guidance:g}" if operation == "generate" else "JPEG"
    notes = (
        f"Requests/s: closed loop of {config.concurrency} connections. From p50 on: an open loop, Poisson arrivals of "
        f"{rate:.3g} requests/s ({config.arrivals:g} of our capacity) for all, latency from the scheduled arrival. "
        f"Every server and the bare loop batch up to {config.max_batch} and share codecs, dtype ({session.dtype}) and "
        "threads; bare is the best of three batch sizes, its codecs in threads beside the network.",
        "As ours: the largest difference of an answer from ours, in grey levels or deviations of the latent.",
        *absent,
    )
    title = f"{operation.capitalize()}, {config.tokenizer} at {config.resolution} pixels, {work}"
    return Table(title=title, columns=COLUMNS, rows=tuple(rows), notes=notes)


def _claims(
    session: Session,
    operation: str,
    bare: BareReport,
    ours: Standing,
    others: list[Standing],
    absent: list[str],
) -> list[Claim]:
    kind = "cuda" if session.device.startswith("cuda") else "cpu"
    limit = (GENERATE_EFFICIENCY if operation == "generate" else EFFICIENCY)[kind]
    best = bare.best[1]
    share = ours.saturated.per_s / best if best else math.nan
    claims = [
        Claim.at_least(f"{operation}: throughput >= {limit:g} of the bare loop", share, limit, "of bare")
    ]
    for other in others:
        ahead = ours.saturated.per_s / other.saturated.per_s if other.saturated.per_s else math.inf
        claims.append(Claim.at_least(f"{operation}: throughput ahead of {other.name}", ahead, 1.0, "times"))
        # A server that answers nobody in time has no p99: it is behind.
        tail = other.steady.p99_ms / ours.steady.p99_ms if other.steady.answered else math.inf
        claims.append(Claim.at_least(f"{operation}: p99 ahead of {other.name}", tail, 1.0, "times"))
    return claims + [
        Claim(says=f"{operation}: {text}", measured="not measured", holds=None) for text in absent
    ]
