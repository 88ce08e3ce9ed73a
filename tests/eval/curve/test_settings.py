"""What a job of curves is, and what is refused."""

import pytest

from eval.curve.settings import CurveConfig


def test_a_member_is_either_a_curve_or_a_point() -> None:
    CurveConfig.parse({"comparison": "a", "out": "b", "curves": ["one"], "beside": ["two"]})
    with pytest.raises(ValueError, match="beside: one are curves already"):
        CurveConfig.parse({"comparison": "a", "out": "b", "curves": ["one"], "beside": ["one"]})


def test_counts_rise() -> None:
    with pytest.raises(ValueError, match=r"counts must rise, got \[8, 4\]"):
        CurveConfig.parse({"comparison": "a", "out": "b", "curves": ["one"], "counts": [8, 4]})
