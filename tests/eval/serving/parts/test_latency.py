"""What a server adds is the difference to the bare call, and the limits decide."""

import pytest

from eval.serving.parts import latency
from tests.eval.serving.parts.conftest import ScriptedSession


@pytest.mark.parametrize(
    ("served_s", "holds"), [(0.005, [True, True]), (0.008, [False, True]), (0.015, [False, False])]
)
def test_added(scripted: ScriptedSession, served_s: float, holds: list[bool]) -> None:
    scripted.script.latency_s = served_s
    (table,), claims = latency.measure(scripted)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["added p50 ms"] == pytest.approx(1000 * (served_s - 0.004))
    assert row["bare p50 ms"] == pytest.approx(4)
    assert [claim.holds for claim in claims] == holds
