"""What a run trains on, as data."""

from pathlib import Path

import pytest

from tokenizer.data.settings import DataConfig


def test_crops_are_never_larger_than_the_picture() -> None:
    assert DataConfig(path=Path("pictures")).max_scale == 1.25
    with pytest.raises(ValueError, match="max_scale"):
        DataConfig.parse({"path": "pictures", "max_scale": 0.9})


def test_shapes_of_clips_are_checked() -> None:
    data = DataConfig.parse(
        {"path": "films", "aspects": ["1:1", "16:9"], "lengths": [9, 17], "still_share": 0.2}
    )
    assert (data.aspects, data.lengths) == (("1:1", "16:9"), (9, 17))
    wrong: dict[str, object]
    for wrong in (
        {"aspects": []},
        {"aspects": ["16/9"]},
        {"aspects": ["1:1", "1:1"]},
        {"lengths": [0]},
        {"still_share": 1.5},
        {"stride": 0},
        {"frame_rate": 0},
        {"motion": {"speed": 1}},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DataConfig.parse({"path": "films", **wrong})
