"""The sigma-VAE: its mode, one drawn scale a sample, and the divergence that is left."""

import math

import pytest
import torch

from tokenizer.bottlenecks.kl import Posterior
from tokenizer.bottlenecks.sigma_vae import SigmaVAEConfig


def test_the_mode_is_the_mean() -> None:
    h = torch.randn(2, 3, 4, 4)
    assert torch.equal(SigmaVAEConfig().build(3)(h).z, h)


def test_one_scale_a_sample_drives_all_its_noise() -> None:
    h, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 4, 4, 4)
    z = SigmaVAEConfig(sigma=0.5).build(3)(h, sample=True, noise=noise).z
    for row in range(2):
        expected = h[row] + 0.5 * noise[row, 3, 0, 0].abs() * noise[row, :3]
        torch.testing.assert_close(z[row], expected)


def test_scales_are_half_normal() -> None:
    torch.manual_seed(0)
    z = SigmaVAEConfig(sigma=2.0).build(1)(torch.zeros(2000, 1, 16), sample=True).z
    scales = z.flatten(1).square().mean(dim=1).sqrt()
    assert scales.mean().item() == pytest.approx(2.0 * math.sqrt(2 / math.pi), rel=0.05)
    assert scales.square().mean().item() == pytest.approx(4.0, rel=0.1)


def test_the_loss_is_the_divergence_up_to_a_constant() -> None:
    mean = torch.randn(2, 3, 4, 4).requires_grad_()
    loss = SigmaVAEConfig().build(3)(mean).loss
    logvar = torch.full_like(mean, math.log(0.3))
    divergence = Posterior(mean, logvar).kl().mean()
    (mine,), (theirs,) = torch.autograd.grad(loss, mean), torch.autograd.grad(divergence, mean)
    torch.testing.assert_close(mine, theirs)
    constant = 0.5 * (0.3 - 1.0 - math.log(0.3))
    assert divergence.item() - loss.item() == pytest.approx(constant, abs=1e-6)
