"""Latent noise: its strength, and that it follows the samples' keys."""

import math

import pytest
import torch

from tokenizer.regularizers.base import Draw
from tokenizer.regularizers.noise import LatentNoiseConfig
from tokenizer.spec import PartSpec

GRID = PartSpec(channels=4)


def test_the_noise_has_the_variance_that_tau_says_and_leaves_the_pixels() -> None:
    regularizer = LatentNoiseConfig(tau=0.5).build(GRID)
    z, x = torch.zeros(4000, 2, 3, 3), torch.zeros(1)
    noisy, target = regularizer.perturb(z, x, Draw(torch.arange(4000), 0))
    assert target is x
    assert noisy.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.03)
    scales = noisy.flatten(1).square().mean(dim=1).sqrt()
    assert scales.mean().item() == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.05)  # of |N(0, tau^2)|


def test_a_sample_s_noise_follows_its_key_alone() -> None:
    regularizer = LatentNoiseConfig().build(GRID)
    z = torch.zeros(2, 4, 3, 5)
    both, _ = regularizer.perturb(z, z, Draw(torch.tensor([7, 8]), 0))
    alone, _ = regularizer.perturb(z[:1], z, Draw(torch.tensor([8]), 1))
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
