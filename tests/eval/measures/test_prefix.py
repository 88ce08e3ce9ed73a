"""Closed forms: channels that carry means first lose only details; what does not arrive is 0 or the mean."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.measures.prefix import PrefixPSNR
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

Toy = Callable[..., Autoencoder]


def measure(tokenizer: Autoencoder, share: float, real: Tensor) -> float:
    prefix = PrefixPSNR(share)
    for batch in real.split(4):
        prefix.update(tokenizer, batch, tokenizer.encode(from_uint8(batch)))
    return prefix.compute()[0]


def coarse(x: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0, mode="nearest")


def structured(toy: Toy) -> Autoencoder:
    """Six channels: the means of 4x4 pixels, then what they lack."""
    return toy(lambda x: torch.cat([coarse(x), x - coarse(x)], dim=1), lambda z: z[:, :3] + z[:, 3:], 6, 1)


def psnr(real: Tensor, fake: Tensor) -> float:
    return float(decibels(mean_squared_error(real, to_uint8(fake))).mean())


def test_the_first_half_of_a_structured_latent_is_the_coarse_picture(toy: Toy, smooth: Tensor) -> None:
    expected = psnr(smooth, coarse(from_uint8(smooth)))
    assert measure(structured(toy), 0.5, smooth) == pytest.approx(expected, abs=1e-3)


def test_more_channels_are_not_worse_and_order_matters(toy: Toy, smooth: Tensor) -> None:
    first = measure(structured(toy), 0.5, smooth)
    backwards = toy(
        lambda x: torch.cat([x - coarse(x), coarse(x)], dim=1), lambda z: z[:, :3] + z[:, 3:], 6, 1
    )
    assert first > measure(backwards, 0.5, smooth) + 3
    assert measure(structured(toy), 1 / 6, smooth) < first


def test_the_better_of_zero_and_mean_fills_in(toy: Toy, smooth: Tensor) -> None:
    """A constant channel that the decoder subtracts: its mean is the right guess, 0 is not; and the other way round."""
    real = from_uint8(smooth)
    shifted = toy(
        lambda x: torch.cat([x, torch.full_like(x, 0.5)], dim=1), lambda z: z[:, :3] + z[:, 3:] - 0.5, 6, 1
    )
    shifted.spec = shifted.spec.with_statistics({"z": ([0.0] * 3 + [0.5] * 3, [1.0] * 6)})
    assert measure(shifted, 0.5, smooth) > 90
    shifted.spec = shifted.spec.with_statistics({"z": ([0.0] * 6, [1.0] * 6)})
    assert measure(shifted, 0.5, smooth) == pytest.approx(psnr(smooth, real - 0.5), abs=1e-3)
    ignored = toy(lambda x: torch.cat([x, torch.zeros_like(x)], dim=1), lambda z: z[:, :3] + z[:, 3:], 6, 1)
    ignored.spec = ignored.spec.with_statistics({"z": ([0.3] * 6, [2.0] * 6)})
    assert measure(ignored, 0.5, smooth) > 90


def test_what_has_no_first_channels_is_not_computed(toy: Toy, smooth: Tensor) -> None:
    tokenizer = toy(lambda x: x, lambda z: z, 3, 1)
    latent = tokenizer.encode(from_uint8(smooth))
    with pytest.raises(NotComputedError, match="more than 3 channels"):
        PrefixPSNR(0.9).update(tokenizer, smooth, latent)
    spec = LatentSpec.image(3, 1, codebook_size=8)
    tokenizer.spec = spec.with_statistics({"z": ([0.0] * 3, [1.0] * 3)})
    with pytest.raises(NotComputedError, match="continuous"):
        PrefixPSNR(0.5).update(tokenizer, smooth, latent)
