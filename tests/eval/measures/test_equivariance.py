"""Closed forms: what only pools is equivariant; a pattern that is added is off by exactly that pattern."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.measures.equivariance import TRANSFORMS, Equivariance, EquivarianceError, TransformName
from eval.pixels import from_uint8
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec, PartSpec

Toy = Callable[..., Autoencoder]


def measure(tokenizer: Autoencoder, name: TransformName, real: Tensor) -> Equivariance:
    error = EquivarianceError(name)
    for batch in real.split(4):
        error.update(tokenizer, batch, tokenizer.encode(from_uint8(batch)))
    return error.compute()


def pooled(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 4)


def enlarged(z: Tensor) -> Tensor:
    return F.interpolate(z, scale_factor=4.0, mode="nearest")


@pytest.mark.parametrize("name", TRANSFORMS)
def test_means_of_cells_turn_and_shrink_with_the_picture(
    toy: Toy, name: TransformName, smooth: Tensor
) -> None:
    assert measure(toy(pooled, enlarged, 3, 4), name, smooth).error < 1e-6


def test_the_identity_gives_the_turned_picture_back(toy: Toy, smooth: Tensor) -> None:
    found = measure(toy(lambda x: x, lambda z: z, 3, 1), "rot90", smooth)
    assert found.error == 0
    assert found.psnr > 99


def test_a_pattern_that_is_added_is_the_error(toy: Toy, smooth: Tensor) -> None:
    """E(x) = x + p: the error is |p - rot p| / |rot x + p|, and what comes out is off by rot p - p."""
    pattern = torch.linspace(-0.2, 0.2, 32).view(1, 1, 1, 32)
    found = measure(toy(lambda x: x + pattern, lambda z: z - pattern, 3, 1), "rot90", smooth)
    turned = torch.rot90(pattern.expand(1, 3, 32, 32), 1, (-2, -1))
    direct = torch.rot90(from_uint8(smooth), 1, (-2, -1)) + pattern
    expected = math.sqrt(6 * float((pattern - turned).square().sum())) / float(direct.norm())
    assert found.error == pytest.approx(expected, rel=1e-5)
    mse = float((pattern - turned).square().mean()) * 127.5**2
    assert found.psnr == pytest.approx(
        10 * math.log10(255**2 / mse), abs=0.5
    )  # clamping and rounding move it a little


def test_a_bent_value_does_not_survive_means(toy: Toy, smooth: Tensor) -> None:
    tokenizer = toy(lambda x: pooled(x).pow(3), lambda z: enlarged(z.sign() * z.abs().pow(1 / 3)), 3, 4)
    assert measure(tokenizer, "rot90", smooth).error < 1e-6
    assert measure(tokenizer, "scale", smooth).error > 0.01


def test_latents_that_are_unrelated_are_off_by_the_root_of_two(toy: Toy, smooth: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    tokenizer = toy(lambda x: torch.randn(x.shape, generator=generator), lambda z: z, 3, 1)
    assert measure(tokenizer, "rot90", smooth).error == pytest.approx(math.sqrt(2), abs=0.05)


def test_what_has_no_grid_or_no_half_is_not_computed(toy: Toy, smooth: Tensor) -> None:
    tokenizer = toy(pooled, enlarged, 3, 4)
    real = smooth[:, :, :28, :28]
    with pytest.raises(NotComputedError, match="multiples of 8"):
        measure(tokenizer, "scale", real)
    assert measure(tokenizer, "rot90", real).error < 1e-6
    row = PartSpec(layout="1d", channels=3, num_tokens=64, mean=(0.0,) * 3, std=(1.0,) * 3)
    latent = tokenizer.encode(from_uint8(smooth))
    tokenizer.spec = LatentSpec(parts=(row,))
    with pytest.raises(NotComputedError, match="grid"):
        EquivarianceError("rot90").update(tokenizer, smooth, latent)


def test_a_pattern_that_stays_in_its_place_does_not_shift(toy: Toy, smooth: Tensor) -> None:
    """E adds the number of a column, so that a picture moved by a cell gives other values: by one in each column."""
    column = 0.01 * torch.arange(8.0).view(1, 1, 1, 8)
    tokenizer = toy(lambda x: pooled(x) + column[..., : x.shape[-1] // 4], enlarged, 3, 4)
    found = measure(tokenizer, "shift", smooth)
    direct = tokenizer.encode(from_uint8(smooth)[..., 4:, 4:]).z
    expected = 0.01 * math.sqrt(direct.numel()) / float(direct.norm())
    assert found.error == pytest.approx(expected, rel=1e-4)
    with pytest.raises(NotComputedError, match="at least 8"):
        measure(toy(pooled, enlarged, 3, 4), "shift", smooth[:, :, :4, :4])
