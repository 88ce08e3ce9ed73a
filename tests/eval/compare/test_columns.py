"""Which way is better, and how numbers are written."""

import math

import pytest

from eval.compare.columns import COLUMNS, improvement


def test_directions() -> None:
    assert improvement("psnr", 30.0, 29.0) == 1.0
    assert improvement("equivariance_rot90", 0.2, 0.5) == pytest.approx(0.3)
    assert improvement("sharpness", 0.9, 0.7) == pytest.approx(0.2)
    assert improvement("sharpness", 1.4, 0.7) == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="no direction"):
        improvement("tokens", 1, 2)


def test_numbers_are_written_with_their_digits() -> None:
    assert COLUMNS["psnr"].write(28.456) == "28.46"
    assert COLUMNS["parameters"].write(1_234_567) == "1.235"
    assert COLUMNS["tokens"].write(64.0) == "64"
    assert COLUMNS["psnr"].write(None) == "-"
    assert COLUMNS["psnr"].write(math.inf) == "inf"


def test_titles_tell_columns_apart() -> None:
    titles = [column.title for column in COLUMNS.values()]
    assert len(titles) == len(set(titles))
    assert all(column.says for column in COLUMNS.values())
