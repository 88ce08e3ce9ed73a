"""The settings of a training run."""

import pytest

from diffusion.training import FREE, PLACES, TrainConfig

TREE = {"latents": "a", "out": "b", "model": {"kind": "dit", "preset": "S"}, "images": 8, "batch": 4}


def test_a_preset_tells_no_place_and_every_free_setting_exists() -> None:
    config = TrainConfig.parse(TREE | {"tokenizer": "c", "init": "d", "validation": "e"})
    assert not set(PLACES) & set(config.preset())
    assert set(FREE) <= set(config.preset())
    assert set(PLACES) <= set(TrainConfig.model_fields)


def test_a_preset_and_places_make_the_same_run() -> None:
    config = TrainConfig.parse(TREE)
    assert TrainConfig.parse(config.preset() | {"latents": "a", "out": "b"}) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 5, "accumulate": 2}, "multiple of accumulate"),
        ({"images": 0}, "images"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"model": {"kind": "unet"}}, "model"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.parse(TREE | change)
