"""BSQ: on the sphere, equal to vector-quantize-pytorch's spherical LFQ, losses against all codes."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.bottlenecks.bsq import BSQ, BSQConfig


def build(num_bits: int, **settings: object) -> BSQ:
    return BSQConfig.parse({"kind": "bsq", **settings}).build(num_bits)


def features(channels: int) -> Tensor:
    return torch.randn(2, channels, 5, 4, generator=torch.Generator().manual_seed(0))


def test_it_equals_vector_quantize_pytorch() -> None:
    reference = pytest.importorskip("vector_quantize_pytorch").LFQ(
        codebook_size=2**4, spherical=True, entropy_loss_weight=0.1, commitment_loss_weight=0.0
    )
    h = features(4).requires_grad_()
    out = build(4, group_bits=4)(h)
    z, indices, loss = reference(h, inv_temperature=1.0)
    torch.testing.assert_close(out.z, z)
    assert torch.equal(out.indices, indices.long())
    assert out.loss.item() == pytest.approx(loss.item(), abs=1e-5)
    weight = features(4)
    (mine,) = torch.autograd.grad((out.z * weight).sum() + out.loss, h)
    (theirs,) = torch.autograd.grad((z * weight).sum() + loss, h)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_codes_and_features_are_on_the_sphere() -> None:
    out = build(9)(3.0 * features(9))
    torch.testing.assert_close(out.z.norm(dim=1), torch.ones(2, 5, 4))
    assert out.stats["commitment"].item() < 2.0  # within a quarter of a great circle


def test_the_gradient_goes_through_the_normalisation() -> None:
    h, weight = features(3).requires_grad_(), features(3).flip(0)
    (got,) = torch.autograd.grad((build(3)(h).z * weight).sum(), h)
    (expected,) = torch.autograd.grad((F.normalize(h, dim=1) * weight).sum(), h)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_loss_is_the_formula_over_all_codes(temperature: float) -> None:
    module = build(
        4, entropy_weight=0.5, diversity=0.8, commitment_weight=0.3, temperature=temperature, group_bits=4
    )
    h = features(4)
    codes = module.decode_indices(torch.arange(16).view(1, -1), (16,))[0].T
    u = F.normalize(h, dim=1).movedim(1, -1).reshape(-1, 4)
    p = torch.softmax(2.0 * u @ codes.T / temperature, dim=-1)
    mean = p.mean(dim=0)
    sample, batch = -(p * p.log()).sum(dim=1).mean(), -(mean * mean.log()).sum()
    commitment = (u - u.sign() / 2).square().sum(dim=1).mean()
    out = module(h)
    expected = 0.5 * temperature * (sample - 0.8 * batch) + 0.3 * commitment
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("num_bits", "num_codebooks"), [(6, 1), (18, 1), (36, 2)])
def test_codes_are_one_to_one(num_bits: int, num_codebooks: int, dtype: torch.dtype) -> None:
    module = build(num_bits, num_codebooks=num_codebooks).to(dtype)
    out = module(features(num_bits).to(dtype))
    assert out.indices is not None
    z = module.decode_indices(out.indices, (5, 4))
    assert torch.equal(z, out.z)
    assert torch.equal(module.encode_indices(z), out.indices)


def test_how_the_bits_are_written_changes_nothing_else() -> None:
    h = features(6)
    one, two = build(6)(h), build(6, num_codebooks=2)(h)
    assert torch.equal(one.z, two.z)
    assert torch.equal(one.loss, two.loss)
    assert one.indices is not None
    assert two.indices is not None
    assert torch.equal(one.indices, two.indices[:, 0] * 8 + two.indices[:, 1])


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="36 bits does not fit 32"):
        build(36)
    with pytest.raises(ValueError, match="group_bits 5 must divide the 18 bits"):
        build(18, group_bits=5)
