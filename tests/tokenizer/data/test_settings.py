"""What a run trains on, as data."""

from pathlib import Path

import pytest

from tokenizer.data.settings import DataConfig


def test_crops_are_never_larger_than_the_picture() -> None:
    assert DataConfig(path=Path("pictures")).max_scale == 1.25
    with pytest.raises(ValueError, match="max_scale"):
        DataConfig.parse({"path": "pictures", "max_scale": 0.9})
