"""Settings: what contradicts itself is refused, and what decides whether a part stands."""

from pathlib import Path

import pytest

from eval.serving.settings import PARTS, PRESETS, ServingConfig


def test_defaults_and_presets_are_whole() -> None:
    assert ServingConfig().parts == PARTS
    assert {path.stem for path in PRESETS.glob("*.yaml")} == {"smoke", "dcae"}
    for path in PRESETS.glob("*.yaml"):
        assert ServingConfig.load(path).generator is None
    assert ServingConfig.load(PRESETS / "smoke.yaml").peers == ("plain",)


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="generate needs generator"):
        ServingConfig(generator=None)
    with pytest.raises(ValueError, match="soak is not among parts"):
        ServingConfig(parts=("latency",), only=("soak",))


def test_a_part_stands_while_what_it_measured_is_the_same() -> None:
    first = ServingConfig()
    assert first.fingerprint() == ServingConfig(only=("soak",), out=Path("elsewhere")).fingerprint()
    assert first.fingerprint() != ServingConfig(max_batch=8).fingerprint()
    assert first.concurrency == 64
