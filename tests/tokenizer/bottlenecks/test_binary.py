"""Bernoulli latents: probabilities of samples, the deterministic threshold, gradients to the probability."""

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.binary import Bernoulli, BernoulliConfig


def build(num_bits: int, **settings: object) -> Bernoulli:
    return BernoulliConfig.parse({"kind": "bernoulli", **settings}).build(num_bits)


def features(channels: int) -> Tensor:
    return torch.randn(2, channels, 5, 4, generator=torch.Generator().manual_seed(0))


def test_samples_have_the_probability_of_the_logit() -> None:
    p = torch.tensor([0.02, 0.3, 0.5, 0.9]).view(1, 4, 1, 1)
    noise = torch.randn(1, 4, 200, 200, generator=torch.Generator().manual_seed(0))
    z = build(4)(p.logit().expand(1, 4, 200, 200), sample=True, noise=noise).z
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), p.flatten(), rtol=0.0, atol=0.01)
    assert set(z.unique().tolist()) == {0.0, 1.0}


def test_a_sample_is_the_normal_quantile_of_its_noise() -> None:
    h = features(3)
    threshold = torch.distributions.Normal(0.0, 1.0).icdf(torch.sigmoid(h))
    for side, expected in ((-1e-3, 1.0), (1e-3, 0.0)):
        z = build(3)(h, sample=True, noise=threshold + side).z
        assert torch.equal(z, torch.full_like(z, expected))


def test_without_sampling_a_bit_is_the_likelier_one() -> None:
    h = features(3)
    assert torch.equal(build(3)(h).z, (torch.sigmoid(h) > 0.5).float())


def test_the_gradient_is_that_of_the_probability() -> None:
    h, weight = features(3).requires_grad_(), features(3).flip(0)
    p = torch.sigmoid(h.detach())
    for sample in (False, True):
        (got,) = torch.autograd.grad((build(3)(h, sample=sample).z * weight).sum(), h)
        torch.testing.assert_close(got, weight * p * (1 - p))


def test_the_loss_is_the_variance_of_the_bits() -> None:
    h = features(3).requires_grad_()
    assert build(3)(h).loss.item() == 0.0
    out = build(3, variance_weight=0.5)(h)
    p = torch.sigmoid(h)
    assert out.loss.item() == pytest.approx(0.5 * (p * (1 - p)).mean().item())
    (got,) = torch.autograd.grad(out.loss, h)
    torch.testing.assert_close(got, 0.5 * p * (1 - p) * (1 - 2 * p) / h.numel())
    assert build(1, variance_weight=1.0)(torch.zeros(1, 1, 1)).loss.item() == 0.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("num_bits", "num_codebooks"), [(6, 1), (32, 1), (64, 2)])
def test_codes_are_one_to_one(num_bits: int, num_codebooks: int, dtype: torch.dtype) -> None:
    module = build(num_bits, num_codebooks=num_codebooks).to(dtype)
    out = module(features(num_bits).to(dtype), sample=True, noise=features(num_bits))
    assert out.indices is not None
    z = module.decode_indices(out.indices, (5, 4))
    assert torch.equal(z, out.z)
    assert torch.equal(module.encode_indices(z), out.indices)


def test_an_index_fits_32_bits() -> None:
    with pytest.raises(ValueError, match="64 bits does not fit 32.* from 2, 4, 8, 16, 32, 64"):
        build(64)
