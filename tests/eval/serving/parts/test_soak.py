"""Memory that grows is seen, and short runs decide nothing."""

import itertools

import pytest

from eval.serving.parts import soak
from tests.eval.serving.parts.conftest import Script, ScriptedSession, with_config

MIB = 2**20


@pytest.mark.parametrize(
    ("minutes", "step", "holds"), [(0.001, 10 * MIB, None), (20.0, 0, True), (20.0, 10 * MIB, False)]
)
def test_growth(
    scripted: ScriptedSession,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    step: int,
    holds: bool | None,
) -> None:
    now = itertools.count(0.0, 30.0)
    monkeypatch.setattr(soak.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(soak.time, "sleep", lambda _: None)
    scripted.script = Script(per_s=5.0, sizes=itertools.count(500 * MIB, step))
    (table,), (growth, answered) = soak.measure(with_config(scripted, soak_minutes=minutes))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["first MiB"] == 500
    assert growth.holds is holds
    assert answered.holds is True


def test_shapes_are_random_and_the_same_again(scripted: ScriptedSession) -> None:
    first, second = soak.shapes(scripted), soak.shapes(scripted)
    assert first == second
    assert len(first) == soak.SHAPES
    assert len({asked.target for asked in first}) > 6
