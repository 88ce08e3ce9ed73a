"""A session whose servers are scripted: so many requests a second, so late, so much memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from eval.serving.bare import BarePlan, BareReport
from eval.serving.load import Plan, Sample
from eval.serving.session import Session

BARE_PER_S, BARE_LATENCY_S = 200.0, 0.004


@dataclass
class Script:
    """What a server does.

    Attributes:
        per_s: requests that it can answer in a second.
        latency_s: of each.
        refusal_s: of those beyond it, under an open loop.
        live_s: of /health/live.
        wasted_s: that a storm takes longer than half of it.
        sizes: of its memory, in turn.
        answer: to single requests.
    """

    per_s: float = 190.0
    latency_s: float = 0.006
    refusal_s: float = 0.002
    live_s: float = 0.001
    wasted_s: float = 0.0
    sizes: Iterator[int] = field(default_factory=lambda: iter([100] * 10**6))
    answer: bytes = b""


class Served:
    """A running server by script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def ask(self, _: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, self._script.answer

    def resident_bytes(self) -> int | None:
        return next(self._script.sizes)

    def start_load(self, plan: Plan) -> Served.Loading:
        return Served.Loading(self.load(plan))

    def load(self, plan: Plan) -> list[Sample]:
        script = self._script
        if plan.requests[0].target == "/health/live":
            count = int(plan.seconds / (plan.every_s or 1.0))
            return [Sample(index * (plan.every_s or 1.0), script.live_s, 200, 1) for index in range(count)]
        if plan.mode == "closed":
            count = round(script.per_s * plan.seconds)
            each = 1 / script.per_s
            return [Sample(index * each, script.latency_s, 200, 1, 2) for index in range(count)]
        if plan.mode == "storm":
            stay = plan.connections if plan.vanish_after_s is None else plan.connections // 2
            last = stay / script.per_s
            if plan.vanish_after_s is not None:
                last += plan.vanish_after_s / 2 + script.wasted_s
            return [Sample(0.0, last, 200, 1) for _ in range(stay)]
        return self._open(plan)

    def _open(self, plan: Plan) -> list[Sample]:
        script, samples, taken = self._script, [], 0
        for index in range(round(plan.rate * plan.seconds)):
            at = index / plan.rate
            if taken < script.per_s * (at + 1e-9):
                taken += 1
                samples.append(Sample(at, script.latency_s, 200, 1))
            else:
                samples.append(Sample(at, script.refusal_s, 429, 0))
        return samples

    @dataclass
    class Loading:
        """A load that is over before it is asked for."""

        found: list[Sample]

        def samples(self) -> list[Sample]:
            return self.found


class ScriptedSession(Session):
    """Ours, the peers and the bare loop by script; everything else is a session's."""

    script: Script
    peers: dict[str, Script]
    __setattr__ = object.__setattr__  # scripts change, a session does not

    @contextmanager
    def ours(self, **_: object) -> Iterator[Served]:  # type: ignore[override]  # what a part uses of it
        yield Served(self.script)

    @contextmanager
    def peer(self, name: str, *_: object) -> Iterator[Served]:  # type: ignore[override]  # as above
        yield Served(self.peers[name])

    def bare(self, plans: Any) -> list[BareReport]:
        made = []
        for plan in plans:
            assert isinstance(plan, BarePlan)
            per_s = {size: BARE_PER_S * size / max(plan.batch_sizes) for size in plan.batch_sizes}
            made.append(BareReport(per_s=per_s, latencies_s=(BARE_LATENCY_S,) * plan.calls))
        return made


@pytest.fixture
def scripted(session: Session) -> ScriptedSession:
    """One-second loads without warm-up."""
    config = session.config.model_copy(
        update={"seconds": 1.0, "warmup_s": 0.0, "peers": ("plain",), "max_batch": 4}
    )
    fields = {name: getattr(session, name) for name in Session.__slots__}
    made = ScriptedSession(**{**fields, "config": config})
    made.script, made.peers = Script(), {"plain": Script()}
    return made


def with_config(session: ScriptedSession, **changes: object) -> ScriptedSession:
    """The same with other settings."""
    config = session.config.model_copy(update=changes)
    made = replace(session, config=config)
    made.script, made.peers = session.script, session.peers
    return made
