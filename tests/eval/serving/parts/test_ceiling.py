"""The ceiling's rows are what was counted."""

import pytest

from eval.serving.parts import ceiling
from tests.eval.serving.parts.conftest import BARE_PER_S, ScriptedSession


def test_rows(scripted: ScriptedSession) -> None:
    (table,), claims = ceiling.measure(scripted)
    assert claims == []
    assert len(table.rows) == 6
    row = dict(zip(table.columns, table.rows[-1], strict=True))
    assert row["requests/s"] == pytest.approx(190, rel=0.02)
    assert row["us a request"] == pytest.approx(1e6 / 190, rel=0.02)
    assert row["MB/s"] == pytest.approx(190 * 3.145728, rel=0.02)
    assert (row["batch"], row["bare requests/s"]) == (2, BARE_PER_S)
