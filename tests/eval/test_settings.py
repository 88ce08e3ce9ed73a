"""Settings of the jobs: closed, with presets that load, and mistakes named."""

from pathlib import Path

import pytest

from eval.settings import GenerateConfig, ReconstructConfig, SweepConfig, TilesConfig

NEEDED = ["data.path=pictures", "out=out"]


def test_what_a_person_must_say() -> None:
    config = ReconstructConfig.load(None, ["tokenizer=demo", *NEEDED])
    assert (config.protocol, config.batch_size, config.dtype) == ("canon-v1", 16, "float32")
    assert config.data.path == Path("pictures")
    made = GenerateConfig.load(None, ["generator=demo", *NEEDED])
    assert (made.batch_size, made.num_images, made.guidance) == (32, 200, 2.0)
    with pytest.raises(ValueError, match="shards: unknown key"):
        ReconstructConfig.load(None, ["tokenizer=demo", "shards=3", *NEEDED])


def test_a_sweep_has_every_value_once() -> None:
    config = SweepConfig.load(None, ["generator=demo", "guidance=[1,2]", "num_steps=[5]", *NEEDED])
    assert (config.guidance, config.num_steps) == ((1.0, 2.0), (5,))
    for wrong, sentence in (
        ("guidance=[1,2,1]", "each value once"),
        ("num_steps=[0]", "at least 1"),
        ("guidance=[]", "guidance"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SweepConfig.load(None, ["generator=demo", wrong, *NEEDED])


def test_tiles_that_cannot_be_are_refused() -> None:
    assert TilesConfig(tile=64, overlap=16).plan().tile == 64
    with pytest.raises(ValueError, match="overlap"):
        TilesConfig(tile=16, overlap=16)
