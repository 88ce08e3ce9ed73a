"""The probe beside huge PNGs."""

import math

import pytest
from PIL import Image

from eval.serving.load import Sample
from eval.serving.parts import liveness
from tests.eval.serving.parts.conftest import Script, ScriptedSession


@pytest.mark.parametrize(("live_s", "holds"), [(0.004, True), (0.2, False)])
def test_rows_and_claim(scripted: ScriptedSession, live_s: float, holds: bool) -> None:
    scripted.script = Script(per_s=2.0, latency_s=0.5, live_s=live_s)
    (table,), (claim,) = liveness.measure(scripted)
    busy = dict(zip(table.columns, table.rows[1], strict=True))
    assert (busy["PNGs"], busy["s a PNG"]) == (2, 0.5)
    assert busy["p99 ms"] == pytest.approx(1000 * live_s)
    assert claim.holds is holds


def test_without_a_png_nothing_was_shown(scripted: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.script = Script(per_s=0.1)
    _, (claim,) = liveness.measure(scripted)
    assert claim.holds is None


def test_a_probe_without_answer_is_the_slowest() -> None:
    samples = [Sample(0.0, 9.0, 200, 1)] + [Sample(1.0, 0.001, 200, 1)] * 3 + [Sample(1.0, 0.001, 0, 0)]
    p50, p99 = liveness.probe_quantiles(samples, 0.5)
    assert p50 == pytest.approx(1.0)
    assert math.isinf(p99)


def test_the_huge_picture_is_huge(scripted: ScriptedSession) -> None:
    asked = liveness.huge_request(scripted)
    with Image.open(asked.body or "") as image:
        assert image.size == (4096, 4096)
    assert "output=png" in asked.target
