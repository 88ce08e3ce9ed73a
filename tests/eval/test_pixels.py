"""Rounding, not truncation."""

import pytest
import torch

from eval.pixels import from_uint8, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, 3, 2, 256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_grey_level_survives(dtype: torch.dtype) -> None:
    assert torch.equal(to_uint8(from_uint8(LEVELS).to(dtype)), LEVELS)


def test_truncation_would_lose_a_level() -> None:
    x = from_uint8(LEVELS)
    truncated = ((x + 1) / 2 * 255).to(torch.uint8)
    assert (truncated != LEVELS).float().mean() > 0.1
    assert torch.equal(to_uint8(x), LEVELS)


def test_values_beyond_the_range_are_clamped() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(x)[0, 0, 0].tolist() == [0, 0, 128, 255, 255]


def test_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))
