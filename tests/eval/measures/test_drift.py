"""A tokenizer that settles at once, and one that goes on blurring."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.measures.drift import RoundTripDrift
from eval.metrics.psnr import decibels, mean_squared_error
from tokenizer.model import Autoencoder

Toy = Callable[..., Autoencoder]


def test_a_projection_settles_after_one_generation(toy: Toy, smooth: Tensor) -> None:
    """Means of cells, enlarged: doing it again changes nothing."""
    tokenizer = toy(lambda x: F.avg_pool2d(x, 4), lambda z: F.interpolate(z, scale_factor=4.0), 3, 4)
    drift = RoundTripDrift(3)
    for batch in smooth.split(4):
        drift.update(tokenizer, batch)
    found = drift.compute()
    assert found.psnr[0] == found.psnr[1] == found.psnr[2]
    assert found.step[0] == found.psnr[0]
    assert min(found.step[1:]) > 140  # equal


def test_each_generation_is_lost_to_what_darkens(toy: Toy, smooth: Tensor) -> None:
    """Every pass takes 10 grey levels: the k-th reconstruction is 10 k below the original."""
    bright = torch.full_like(smooth, 200)
    tokenizer = toy(lambda x: x, lambda z: z - 10 / 127.5, 3, 1)
    drift = RoundTripDrift(4)
    drift.update(tokenizer, bright)
    found = drift.compute()
    expected = [float(decibels(mean_squared_error(bright, bright - 10 * k)).mean()) for k in range(1, 5)]
    assert found.psnr == pytest.approx(expected)
    assert found.step == pytest.approx([expected[0]] * 4)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RoundTripDrift(0)
    with pytest.raises(ValueError, match="no pictures"):
        RoundTripDrift(2).compute()
