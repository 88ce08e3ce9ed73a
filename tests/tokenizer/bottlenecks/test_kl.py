"""The Gaussian posterior: closed forms, its mode, and samples driven by the noise that is given."""

import math
from typing import Literal

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tokenizer.bottlenecks.kl import KLConfig, Posterior


def moments(mean: float, std: float, shape: tuple[int, ...] = (1, 3, 4, 4)) -> torch.Tensor:
    return torch.cat([torch.full(shape, mean), torch.full(shape, 2 * math.log(std))], dim=1)


def test_the_divergence_is_the_closed_form() -> None:
    for mean, std in ((0.0, 1.0), (1.5, 1.0), (0.0, 0.1), (-2.0, 3.0)):
        out = KLConfig().build(3)(moments(mean, std))
        expected = 0.5 * (mean * mean + std * std - 1.0 - 2.0 * math.log(std))
        assert out.loss.item() == pytest.approx(expected, abs=1e-6)
        assert out.stats["kl"].item() == out.loss.item()


def test_the_divergence_agrees_with_torch_distributions() -> None:
    h = torch.randn(2, 6, 3, 3)
    posterior = Posterior.from_moments(h)
    reference = kl_divergence(Normal(posterior.mean, (0.5 * posterior.logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), reference)


def test_the_standard_normal_costs_nothing_and_is_a_minimum() -> None:
    h = moments(0.0, 1.0).requires_grad_()
    out = KLConfig().build(3)(h)
    assert out.loss.item() == 0.0
    out.loss.backward()
    assert h.grad is not None
    assert h.grad.abs().max() == 0.0


def test_the_mode_is_the_mean() -> None:
    h = torch.randn(2, 6, 3, 3)
    assert torch.equal(KLConfig().build(3)(h).z, h[:, :3])


def test_a_sample_is_the_mean_plus_std_times_the_given_noise() -> None:
    h, noise = torch.randn(2, 6, 3, 3), torch.randn(2, 3, 3, 3)
    z = KLConfig().build(3)(h, sample=True, noise=noise).z
    torch.testing.assert_close(z, h[:, :3] + (0.5 * h[:, 3:]).exp() * noise)
    assert torch.equal(KLConfig().build(3)(h, sample=True, noise=torch.zeros(2, 3, 3, 3)).z, h[:, :3])


def test_samples_without_noise_have_the_posterior_s_moments() -> None:
    torch.manual_seed(0)
    z = KLConfig().build(3)(moments(1.5, 0.25, (1, 1, 200, 200)), sample=True).z
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.std().item() == pytest.approx(0.25, abs=0.01)


def test_a_wild_logvar_stays_finite() -> None:
    h = torch.cat(
        [torch.zeros(1, 1, 1, 2), torch.tensor([1e4, -1e4]).view(1, 1, 1, 2)], dim=1
    ).requires_grad_()
    out = KLConfig().build(3)(h, sample=True, noise=torch.ones(1, 1, 1, 2))
    (out.z.sum() + out.loss).backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(out.z).all()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()


def test_the_encoder_gives_mean_and_logvar() -> None:
    assert KLConfig().build(4).input_channels == 8


@pytest.mark.parametrize("groups", ["channel", "position"])
def test_free_bits_floor_the_mean_of_each_group(groups: Literal["channel", "position"]) -> None:
    h = torch.randn(4, 6, 3, 5)
    kl = Posterior.from_moments(h).kl()
    means = kl.mean(dim=(0, 2, 3)) if groups == "channel" else kl.mean(dim=(0, 1)).flatten()
    floor = float(means.median())
    out = KLConfig(free_nats=floor, free_groups=groups).build(3)(h)
    assert out.loss.item() == pytest.approx(sum(max(floor, float(mean)) for mean in means) / len(means))
    assert out.stats["kl"].item() == pytest.approx(kl.mean().item())
    assert out.loss.item() > kl.mean().item()


@pytest.mark.parametrize("groups", ["channel", "position"])
def test_free_bits_stop_the_gradient_of_what_is_below(groups: Literal["channel", "position"]) -> None:
    cheap, dear = moments(0.1, 1.0, (2, 1, 1, 4)), moments(3.0, 1.0, (2, 1, 1, 4))
    axis = 1 if groups == "channel" else 3
    h = torch.cat([cheap, dear], dim=3)
    if groups == "channel":
        h = torch.cat([cheap[:, :1], dear[:, :1], cheap[:, 1:], dear[:, 1:]], dim=1)
    h.requires_grad_()
    KLConfig(free_nats=0.5, free_groups=groups).build(h.shape[1] // 2)(h).loss.backward()
    assert h.grad is not None
    mean = h.grad[:, : h.shape[1] // 2]
    below, above = mean.chunk(2, dim=axis)
    assert below.abs().max() == 0.0
    assert above.abs().min() > 0.0


def test_free_bits_are_what_a_tie_of_many_small_costs_may_use() -> None:
    """A posterior at the floor has nothing to gain from the prior: the loss is the floor, exactly."""
    h = moments(0.0, 1.0).requires_grad_()
    out = KLConfig(free_nats=0.25).build(3)(h)
    out.loss.backward()
    assert out.loss.item() == 0.25
    assert h.grad is not None
    assert h.grad.abs().max() == 0.0
