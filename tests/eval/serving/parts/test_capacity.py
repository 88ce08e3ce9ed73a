"""Efficiency, comparisons and their claims; answers that differ are seen."""

import math

import numpy as np
import pytest
from safetensors.numpy import save

from eval.serving import servers
from eval.serving.bodies import picture, picture_file
from eval.serving.parts import capacity
from tests.eval.serving.parts.conftest import BARE_PER_S, Script, ScriptedSession, with_config

ANSWER = picture_file(picture(32, 32, 0), "JPEG", quality=95)


@pytest.fixture
def compared(scripted: ScriptedSession) -> ScriptedSession:
    scripted.script = Script(answer=ANSWER)
    scripted.peers = {"plain": Script(per_s=100.0, latency_s=0.012, answer=ANSWER)}
    return with_config(scripted, operations=("decode",))


def test_shares_and_claims(compared: ScriptedSession) -> None:
    (table,), claims = capacity.measure(compared)
    bare, ours, plain = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert bare["requests/s"] == BARE_PER_S
    assert ours["of bare"] == pytest.approx(0.95, abs=0.01)
    assert plain["of bare"] == pytest.approx(0.5, abs=0.01)
    assert (ours["as ours"], plain["as ours"]) == (None, 0.0)
    assert plain["refused"] > ours["refused"] == 0  # type: ignore[operator]  # counts
    assert [claim.holds for claim in claims] == [True, True, True]
    assert "0.8 of our capacity" in table.notes[0]


def test_a_faster_peer_is_not_hidden(compared: ScriptedSession) -> None:
    compared.peers = {"plain": Script(per_s=195.0, latency_s=0.001, answer=ANSWER)}
    compared.script = Script(per_s=150.0, answer=ANSWER)
    _, claims = capacity.measure(compared)
    assert [claim.holds for claim in claims] == [False, False, False]


def test_a_missing_peer_is_named_and_not_measured(
    compared: ScriptedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "missing", lambda _: "fastapi")
    (table,), claims = capacity.measure(compared)
    assert len(table.rows) == 2
    assert "fastapi is not installed" in table.notes[-1]
    assert claims[-1].holds is None


def test_answers_that_differ() -> None:
    other = picture_file(255 - picture(32, 32, 0), "JPEG", quality=95)
    assert capacity.unlike(ANSWER, ANSWER) == 0
    assert capacity.unlike(ANSWER, other) > 100
    assert math.isnan(capacity.unlike(ANSWER, picture_file(picture(32, 16, 0), "JPEG")))
    one, two = (save({"z": np.full((1, 2), value, np.float32)}) for value in (1.0, 1.5))
    assert capacity.unlike(one, two) == 0.5
