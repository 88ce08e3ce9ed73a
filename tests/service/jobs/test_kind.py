"""Every kind answers to the protocol, and is found under its name."""

import pytest

from service.jobs.kind import Again, Kind, Refused
from service.jobs.kinds import KINDS, REPLAYED


@pytest.mark.parametrize("name", KINDS)
def test_named_and_placed(name: str) -> None:
    kind: Kind = KINDS[name]
    assert kind.name == name
    assert kind.shape in ("job", "evaluation")
    assert kind.lane in ("requests", "processes")
    assert callable(kind.run)
    assert callable(kind.discard)


def test_replayed_kinds_have_each_their_path() -> None:
    assert set(REPLAYED) == {"/v1/encode", "/v1/decode", "/v1/reconstruct", "/v1/generate"}
    assert all(kind.path == path and KINDS[kind.name] is kind for path, kind in REPLAYED.items())


def test_what_a_run_can_say() -> None:
    assert str(Refused({"code": "c", "message": "say what to do"})) == "say what to do"
    assert Again(2.5).after_s == 2.5
    assert Again(0.0, interrupted=True).interrupted
