"""Distances of latents from the prior: closed forms, signs, and draws that follow the keys alone."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.losses.distribution import (
    MMDConfig,
    SlicedWassersteinConfig,
    latent_samples,
    mixture,
    squared_distances,
    squared_mmd,
    squared_sliced_wasserstein,
)
from tokenizer.model import StepOutput

KERNELS = pytest.mark.parametrize("kernel", ["imq", "rbf"])
LOSSES = pytest.mark.parametrize(
    "config",
    [
        MMDConfig(),
        MMDConfig(kernel="rbf"),
        SlicedWassersteinConfig(),
        SlicedWassersteinConfig(unit="picture"),
    ],
    ids=["imq", "rbf", "sliced", "sliced-picture"],
)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step_with(z: Tensor, keys: Tensor | None = None) -> StepOutput:
    keys = torch.arange(len(z)) if keys is None else keys
    x = torch.zeros(len(z), 3, 8, 8)
    return StepOutput(x, z, BottleneckOutput(z=z, loss=torch.zeros(())), target=x, keys=keys)


def test_squared_distances() -> None:
    x, y = gaussian(5, 3), gaussian(4, 3, seed=1)
    torch.testing.assert_close(squared_distances(x, y), torch.cdist(x, y).square())
    assert squared_distances(x, x).diagonal().abs().max() < 1e-5


@KERNELS
def test_the_mmd_of_equal_samples_is_zero(kernel: str) -> None:
    x = gaussian(50, 4)
    assert squared_mmd(x, x.clone(), mixture(kernel, 4, (0.5, 1.0))).item() == pytest.approx(0.0, abs=1e-6)  # type: ignore[arg-type]  # a parameter


def test_the_mmd_of_two_points_is_the_closed_form() -> None:
    x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])  # 25 apart, squared
    assert squared_mmd(x, y, mixture("imq", 2, (1.0,))).item() == pytest.approx(2 - 2 * 4 / (4 + 25))
    assert squared_mmd(x, y, mixture("rbf", 2, (1.0,))).item() == pytest.approx(2 - 2 * math.exp(-25 / 4))


@KERNELS
def test_the_mmd_grows_with_a_shift_and_with_a_wrong_spread(kernel: str) -> None:
    x, prior = gaussian(500, 4), gaussian(500, 4, seed=1)
    scores = [
        squared_mmd(z, prior, mixture(kernel, 4, (0.5, 1.0, 2.0))).item()  # type: ignore[arg-type]  # a parameter
        for z in (x, x + 0.5, x + 1.0)
    ]
    assert 0 <= scores[0] < scores[1] < scores[2]
    narrow = squared_mmd(0.3 * x, prior, mixture(kernel, 4, (0.5, 1.0, 2.0))).item()  # type: ignore[arg-type]
    assert narrow > 3 * scores[0]


def test_the_mmd_of_gaussians_is_the_closed_form() -> None:
    """E k over N(0, I) and N(s, I) in D dimensions for exp(-d / c): (c / (c + 4))^(D/2) exp(-|s|^2 / (c + 4))."""
    size, shift, scale = 3, 1.5, 1.0
    c = 2 * size * scale
    x, y = gaussian(2000, size) + shift, gaussian(2000, size, seed=1)
    same = (c / (c + 4)) ** (size / 2)
    expected = 2 * same * (1 - math.exp(-size * shift**2 / (c + 4)))
    assert squared_mmd(x, y, mixture("rbf", size, (scale,))).item() == pytest.approx(expected, rel=0.05)


def test_the_sliced_distance_of_a_shift_is_the_shift() -> None:
    x, shift = gaussian(200, 1), 1.7
    assert squared_sliced_wasserstein(x + shift, x, gaussian(5, 1)).item() == pytest.approx(
        shift**2, rel=1e-5
    )
    x, offset = gaussian(200, 6), gaussian(6, seed=2)
    got = squared_sliced_wasserstein(x + offset, x, gaussian(20000, 6, seed=3)).item()
    assert got == pytest.approx(offset.square().sum().item() / 6, rel=0.03)


def test_the_sliced_distance_of_a_spread_is_the_closed_form() -> None:
    """W2^2 of N(0, a^2) and N(0, 1) is (a - 1)^2 on every line."""
    x, y = 3.0 * gaussian(20000, 2), gaussian(20000, 2, seed=1)
    assert squared_sliced_wasserstein(x, y, gaussian(16, 2, seed=2)).item() == pytest.approx(4.0, rel=0.05)


def test_the_order_of_samples_does_not_matter() -> None:
    x, y, theta = gaussian(30, 3), gaussian(30, 3, seed=1), gaussian(4, 3, seed=2)
    assert squared_sliced_wasserstein(x.flip(0), y, theta).item() == pytest.approx(
        squared_sliced_wasserstein(x, y, theta).item()
    )


@LOSSES
def test_a_loss_follows_the_keys_alone(config: MMDConfig | SlicedWassersteinConfig) -> None:
    loss, z, x = config.build(), gaussian(4, 3, 4, 4), torch.zeros(4, 3, 8, 8)
    torch.manual_seed(1)
    first = loss(step_with(z), x)
    torch.manual_seed(2)
    assert torch.equal(first, loss(step_with(z), x))
    assert not torch.equal(first, loss(step_with(z, torch.arange(4) + 9), x))


@pytest.mark.parametrize(
    "config", [MMDConfig(), MMDConfig(kernel="rbf"), SlicedWassersteinConfig()], ids=["imq", "rbf", "sliced"]
)
def test_descending_a_loss_moves_latents_to_the_prior(config: MMDConfig | SlicedWassersteinConfig) -> None:
    z = (0.2 * gaussian(2, 1, 8, 8) + 2.0).requires_grad_()
    loss, optimizer = config.build(), torch.optim.Adam([z], lr=0.05)
    values = []
    for turn in range(80):
        optimizer.zero_grad()
        value = loss(step_with(z, torch.arange(2) + 1000 * turn), torch.zeros(()))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.1 * values[0]
    assert z.mean().item() < 0.8
    assert 0.6 < z.std().item() < 1.7


def test_samples_are_positions_or_pictures() -> None:
    z = gaussian(2, 3, 4, 5)
    latents, prior = latent_samples(step_with(z), "position", 10_000)
    assert latents.shape == prior.shape == (40, 3)
    assert torch.equal(latents[7], z[0, :, 1, 2])
    latents, prior = latent_samples(step_with(z), "picture", 10_000)
    assert latents.shape == prior.shape == (2, 60)
    assert torch.equal(latents[1], z[1].flatten())


def test_fewer_samples_are_different_positions_of_every_picture() -> None:
    z = torch.arange(40.0).view(2, 1, 4, 5)
    latents, prior = latent_samples(step_with(z), "position", 12)
    assert latents.shape == prior.shape == (12, 1)
    assert len(latents.unique()) == 12
    assert (latents < 20).sum() == 6
    alone, _ = latent_samples(step_with(z[1:], torch.tensor([1])), "position", 6)
    assert torch.equal(alone, latents[6:])  # of its own key, whoever is beside it


def test_z_is_the_bottleneck_s_and_not_what_a_regularizer_made() -> None:
    step = step_with(gaussian(2, 3, 4, 4))
    other = replace(step, z=torch.zeros(2, 3, 4, 4))
    loss, x = MMDConfig().build(), torch.zeros(())
    assert torch.equal(loss(step, x), loss(other, x))


def test_what_cannot_work_is_refused(step_of: Callable[[Tensor], StepOutput]) -> None:
    step = replace(step_of(torch.zeros(1, 3, 4, 4)), keys=None)
    with pytest.raises(ValueError, match="training loss"):
        MMDConfig().build()(step, step.x_hat)
    with pytest.raises(ValueError, match="scales must be positive"):
        MMDConfig(scales=(1.0, 0.0)).build()
