"""Settings that cannot work are refused before any picture is read."""

from collections.abc import Callable
from typing import Any

import pytest

from tokenizer.training import Phase, TrainConfig


def test_model_or_init(tiny_run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="either model"):
        TrainConfig.parse(tiny_run(model=None))
    with pytest.raises(ValueError, match="either model"):
        TrainConfig.parse(tiny_run(init="demo"))


def test_an_unused_key_is_an_error(tiny_run: Callable[..., dict[str, Any]]) -> None:
    """A weight that is set and never read has misled others."""
    settings = tiny_run()
    settings["phases"][0]["adversary"] = {"disc_weight": 0.8}
    with pytest.raises(
        ValueError, match=r"^phases\.0\.adversary\.disc_weight: unknown key[^\n]*weight, width$"
    ):
        TrainConfig.parse(settings)


def test_without_phases_there_is_nothing_to_do(tiny_run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        TrainConfig.parse(tiny_run(phases=[]))


def test_micro_batches_must_fit(tiny_run: Callable[..., dict[str, Any]]) -> None:
    settings = tiny_run()
    settings["phases"][0]["accumulate"] = 3
    with pytest.raises(ValueError, match="multiple of accumulate"):
        TrainConfig.parse(settings)


def test_a_phase_is_whole_steps() -> None:
    assert Phase(resolution=16, images=10, batch=4).span == 12
    assert Phase(resolution=16, images=12, batch=4).span == 12
