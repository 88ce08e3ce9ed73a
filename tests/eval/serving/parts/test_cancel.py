"""What half of the clients leave behind."""

import pytest

from eval.serving.parts import cancel
from eval.serving.parts.cancel import Storm
from tests.eval.serving.parts.conftest import Script, ScriptedSession


@pytest.mark.parametrize(("wasted", "holds"), [(0, True), (3, True), (5, False)])
def test_wasted_requests_decide(scripted: ScriptedSession, wasted: int, holds: bool) -> None:
    scripted.script = Script(per_s=100.0, wasted_s=wasted / 100)
    (table,), (claim,) = cancel.measure(scripted)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["operation"], row["requests"], row["survivors"]) == ("decode", 16, "8 of 8")
    assert row["wasted requests"] == pytest.approx(wasted, abs=1e-6)
    assert claim.holds is holds


def test_work_before_they_went_was_not_wasted() -> None:
    assert Storm(everybody_s=2.0, half_s=1.0, storm_s=1.1, left_s=0.2).wasted_s == pytest.approx(0)
    assert Storm(everybody_s=2.0, half_s=1.0, storm_s=1.6, left_s=0.2).wasted_s == pytest.approx(0.5)
