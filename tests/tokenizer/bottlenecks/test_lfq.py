"""LFQ: equal to vector-quantize-pytorch, straight-through, and losses against all codes."""

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.lfq import LFQ, LFQConfig


def build(num_bits: int, **settings: object) -> LFQ:
    return LFQConfig.parse({"kind": "lfq", **settings}).build(num_bits)


def features(channels: int) -> Tensor:
    return torch.randn(2, channels, 5, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_codebooks", [1, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_it_equals_vector_quantize_pytorch(num_codebooks: int, temperature: float) -> None:
    reference = pytest.importorskip("vector_quantize_pytorch").LFQ(
        codebook_size=2**4,
        num_codebooks=num_codebooks,
        entropy_loss_weight=0.1,
        commitment_loss_weight=0.25,
        diversity_gamma=0.7,
    )
    module = build(4 * num_codebooks, num_codebooks=num_codebooks, diversity=0.7, temperature=temperature)
    h = features(4 * num_codebooks).requires_grad_()
    out = module(h)
    z, indices, loss = reference(h, inv_temperature=1 / temperature)
    assert out.indices is not None
    assert torch.equal(out.z, z)
    assert torch.equal(out.indices, indices.long().movedim(-1, 1) if num_codebooks > 1 else indices.long())
    assert out.loss.item() == pytest.approx(loss.item(), abs=1e-4)  # theirs takes log(max(p, 1e-5))
    if temperature == 1.0:
        (mine,) = torch.autograd.grad(out.loss, h, retain_graph=True)
        (theirs,) = torch.autograd.grad(loss, h, retain_graph=True)
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    weight = features(4 * num_codebooks)
    (mine,) = torch.autograd.grad((out.z * weight).sum(), h)
    assert torch.equal(mine, weight)  # straight through


def test_the_loss_is_the_formula_over_all_codes() -> None:
    module = build(4, entropy_weight=0.5, diversity=0.8, commitment_weight=0.3, temperature=0.7)
    h = features(4)
    codes = module.decode_indices(torch.arange(16).view(1, -1), (16,))[0].T  # (16, 4)
    flat = h.movedim(1, -1).reshape(-1, 4)
    p = torch.softmax(2.0 * flat @ codes.T / 0.7, dim=-1)
    mean = p.mean(dim=0)
    sample, batch = -(p * p.log()).sum(dim=1).mean(), -(mean * mean.log()).sum()
    commitment = (h - h.sign()).square().mean()
    out = module(h)
    assert out.loss.item() == pytest.approx(
        (0.5 * (sample - 0.8 * batch) + 0.3 * commitment).item(), rel=1e-5
    )
    assert out.stats["sample_entropy"].item() == pytest.approx(sample.item(), rel=1e-5)
    assert out.stats["batch_entropy"].item() == pytest.approx(batch.item(), rel=1e-5)
    assert out.stats["commitment"].item() == pytest.approx(commitment.item(), rel=1e-5)


def test_the_entropy_brings_unused_codes_back() -> None:
    torch.manual_seed(0)
    h = (0.1 * torch.randn(64, 3, 1) + 1.0).requires_grad_()  # all of one code
    module = build(3, commitment_weight=0.0, temperature=1.0)
    optimizer = torch.optim.SGD([h], lr=100.0)
    before = module(h).indices
    for _ in range(200):
        optimizer.zero_grad()
        module(h).loss.backward()
        optimizer.step()
    after = module(h).indices
    assert before is not None
    assert after is not None
    assert len(before.unique()) == 1
    assert len(after.unique()) > 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("num_bits", "num_codebooks"), [(6, 1), (36, 2), (32, 1)])
def test_codes_are_one_to_one(num_bits: int, num_codebooks: int, dtype: torch.dtype) -> None:
    module = build(num_bits, num_codebooks=num_codebooks, group_bits=2).to(dtype)
    out = module(features(num_bits).to(dtype))
    assert out.indices is not None
    z = module.decode_indices(out.indices, (5, 4))
    assert torch.equal(z, out.z)
    assert torch.equal(module.encode_indices(z), out.indices)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="36 bits does not fit 32"):
        build(36)
    with pytest.raises(ValueError, match="group_bits 24 must divide the 24 bits and be at most 20"):
        build(24)
    with pytest.raises(ValueError, match="group_bits 5"):
        build(6, group_bits=5)
