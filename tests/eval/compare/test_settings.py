"""Mistakes in a comparison are found before anything trains; presets hold what they must."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.compare.budget import TRAINING_PRESETS, read_preset
from eval.compare.settings import PRESETS, CompareConfig, MemberConfig
from tokenizer.training import TrainConfig

Make = Callable[..., CompareConfig]
ARGUMENTS = ["data.path=pictures", "data.validation=others", "out=out"]


def test_a_name_is_a_member() -> None:
    member = MemberConfig.parse("some/where/tiny_kl.yaml")
    assert (member.preset, member.label, member.overrides) == ("some/where/tiny_kl.yaml", "tiny_kl", ())
    assert MemberConfig.parse({"preset": "tiny", "label": "other"}).label == "other"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": None}, "either images or seconds"),
        ({"seconds": 3.0}, "either images or seconds"),
        ({"members": []}, "at least 1"),
        ({"members": ["tiny", "tiny"]}, "more than one is tiny"),
        ({"members": [{"preset": "tiny", "label": "../up"}]}, "match pattern"),
        ({"only": ["huge"]}, "no member 'huge'"),
        ({"metrics": ["vmaf"]}, "no 'vmaf' here; there are psnr"),
        ({"promises": [{"member": "x", "against": "micro", "improves": "psnr"}]}, "no member 'x'"),
        (
            {"promises": [{"member": "micro", "against": "micro_fsq", "improves": "beauty"}]},
            "no number 'beauty' that can improve: there are psnr",
        ),
        (
            {"promises": [{"member": "micro", "against": "micro_fsq", "improves": "tokens"}]},
            "no number 'tokens' that can improve",
        ),
    ],
)
def test_mistakes_name_the_choices(config: Make, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(**changes)


def test_one_folder_with_both_sets_is_enough(config: Make) -> None:
    both = config(data={"path": "pictures"}).data
    assert (both.training, both.held_out) == (Path("pictures/train"), Path("pictures/validation"))
    given = config(data={"path": "pictures", "validation": "others"}).data
    assert (given.training, given.held_out) == (Path("pictures"), Path("others"))


@pytest.mark.parametrize("file", sorted(PRESETS.glob("*.yaml")), ids=lambda file: file.stem)
def test_presets_name_tokenizer_presets_that_take_their_overrides(file: Path) -> None:
    config = CompareConfig.load(file, ARGUMENTS)
    for member in config.members:
        read_preset(member)


def test_every_tiny_preset_of_pictures_takes_part_in_the_tiny_comparison() -> None:
    config = CompareConfig.load(PRESETS / "tiny.yaml", ARGUMENTS)
    aligned = CompareConfig.load(PRESETS / "aligned.yaml", ARGUMENTS)  # those that need a teacher first
    named = {member.preset for member in (*config.members, *aligned.members)}
    for file in TRAINING_PRESETS.glob("tiny_*.yaml"):
        model = TrainConfig.load(file, ["data.path=pictures", "out=run"]).model
        assert file.stem in named or (model is not None and model.backbone.time is not None)
    assert config.resolution == 64
