"""Goodput, refusals and liveness at twice the capacity."""

import pytest

from eval.serving.parts import overload
from tests.eval.serving.parts.conftest import Script, ScriptedSession


@pytest.mark.parametrize(
    ("script", "holds"),
    [(Script(), True), (Script(refusal_s=0.02, live_s=0.06), False)],
)
def test_claims(scripted: ScriptedSession, script: Script, holds: bool) -> None:
    scripted.script = script
    (table,), claims = overload.measure(scripted)
    alone = dict(zip(table.columns, table.rows[0], strict=True))
    assert alone["arrivals/s"] == pytest.approx(2 * script.per_s, rel=0.05)
    assert alone["of capacity"] == pytest.approx(1.0, abs=0.06)
    assert alone["refused"] > 100  # type: ignore[operator]  # a count
    assert alone["live p99 ms"] == pytest.approx(1000 * script.live_s)
    assert [claim.holds for claim in claims[1:3]] == [holds, holds]
    assert len(claims) == 6
