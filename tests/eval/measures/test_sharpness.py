"""Sharpness is 1 for the picture itself, falls with blur, rises with noise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.measures.sharpness import Sharpness


def sharpness(real: Tensor, fake: Tensor) -> float:
    measure = Sharpness()
    measure.update(real, fake)
    return measure.compute()


def test_equal_pictures_are_equally_sharp(smooth: Tensor) -> None:
    assert sharpness(smooth, smooth) == 1.0
    assert sharpness(smooth, smooth.flip(-1)) == pytest.approx(1.0)


def test_half_the_contrast_is_a_quarter_of_the_energy() -> None:
    real = (torch.randint(0, 100, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)) * 2).to(
        torch.uint8
    )
    assert sharpness(real, real // 2) == pytest.approx(0.25)


def test_blur_lowers_it_and_noise_raises_it(smooth: Tensor) -> None:
    blurred = F.avg_pool2d(smooth.float(), 3, stride=1, padding=1, count_include_pad=False)
    more = F.avg_pool2d(blurred, 3, stride=1, padding=1, count_include_pad=False)
    noisy = smooth.float() + 20 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    values = [sharpness(smooth, x.round().clamp(0, 255).to(torch.uint8)) for x in (more, blurred, noisy)]
    assert values[0] < values[1] < 1 < values[2]


def test_flat_originals_have_none() -> None:
    flat = torch.full((1, 3, 8, 8), 50, dtype=torch.uint8)
    with pytest.raises(ValueError, match="flat"):
        sharpness(flat, flat)
