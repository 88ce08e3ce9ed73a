"""Residual VQ: each code for what is left, parity with vector-quantize-pytorch, fewer codes from noise."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import ResidualVQ as Theirs

from tokenizer.bottlenecks.residual_vq import ResidualVQ, ResidualVQConfig

GRID = (5, 7)


def build(**settings: Any) -> ResidualVQ:
    torch.manual_seed(0)
    module = ResidualVQConfig.parse({"codebook_size": 24, "num_codebooks": 3, **settings}).build(6)
    with torch.no_grad():
        for level, book in enumerate(dict.fromkeys(module.levels)):
            book.codebook.copy_(torch.randn(24, 6) * 0.6**level)
            if book.update == "ema":
                book.sums.copy_(book.codebook)
    return module


def features(seed: int = 0) -> Tensor:
    return torch.randn(2, 6, *GRID, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("shared", [True, False])
def test_each_code_is_the_nearest_to_what_is_left(shared: bool) -> None:
    module, h = build(shared=shared).eval(), features().detach()
    out = module(h)
    rest = h.movedim(1, -1)
    for level, book in enumerate(module.levels):
        nearest = torch.cdist(rest.flatten(0, 2), book.codes).argmin(dim=1).view(2, *GRID)
        assert torch.equal(out.indices[:, level], nearest)
        rest = rest - book.codes[nearest]
    torch.testing.assert_close(h - out.z, rest.movedim(-1, 1))
    assert len(list(module.parameters())) == (1 if shared else 3)


@pytest.mark.parametrize("rotation", [False, True])
def test_it_equals_vector_quantize_pytorch(rotation: bool) -> None:
    """Separate running codebooks: indices, z, losses, and codes after three steps.

    Their gradient is the sum over levels of straight-through gradients, Q times ours, which goes through the sum
    once (as in RQ-VAE); with the rotation trick each level turns its own rest, so only ours of the sum is tested.
    """
    module = build(shared=False, update="ema", decay=0.8, commitment=0.25)
    other = Theirs(
        dim=6,
        codebook_size=24,
        num_quantizers=3,
        decay=0.8,
        commitment_weight=0.25,
        rotation_trick=rotation,
    )
    with torch.no_grad():
        for book, layer in zip(module.levels, other.layers, strict=True):
            layer._codebook.embed.copy_(book.codebook[None])
            layer._codebook.embed_avg.copy_(book.codebook[None])
    for seed in range(3):
        mine, their = features(seed), features(seed)
        out = module(mine)
        rows, indices, losses = other(
            their.flatten(2).movedim(1, -1)
        )  # theirs takes square maps or sequences
        z = rows.movedim(-1, 1).view(out.z.shape)
        assert torch.equal(out.indices.flatten(2), indices.movedim(-1, 1))
        torch.testing.assert_close(out.z, z, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.loss, losses.mean())
        for book, layer in zip(module.levels, other.layers, strict=True):
            torch.testing.assert_close(book.codebook, layer._codebook.embed[0], atol=1e-5, rtol=1e-5)
        if not rotation:
            g = torch.randn(out.z.shape, generator=torch.Generator().manual_seed(seed))
            out.z.backward(g)
            z.backward(g)
            assert mine.grad is not None
            assert their.grad is not None
            assert torch.equal(mine.grad, g)
            torch.testing.assert_close(their.grad, 3 * g, atol=1e-5, rtol=1e-5)


def test_learned_codes_have_the_gradient_of_their_own_rest() -> None:
    module, h = build(shared=False, commitment=0.0), features()
    out = module(h)
    out.loss.backward()
    rest = h.detach().movedim(1, -1)
    for level, book in enumerate(module.levels):
        chosen = out.indices[:, level]
        error = (book.codes[chosen] - rest).reshape(-1, 6) * 2 / h.numel() / 3
        torch.testing.assert_close(
            book.codebook.grad,
            torch.zeros(24, 6).index_add_(0, chosen.flatten(), error),
            atol=1e-7,
            rtol=1e-4,
        )
        rest = rest - book.codes[chosen]
    assert h.grad is None or h.grad.abs().max() == 0


def test_a_shared_codebook_counts_all_levels_once() -> None:
    module = build(update="ema", decay=0.5)
    out = module(features())
    counts = 0.5 + 0.5 * torch.bincount(out.indices.flatten(), minlength=24)
    torch.testing.assert_close(module.levels[0].counts, counts)
    assert int(module.levels[0].passes) == 1


def test_more_codes_never_reconstruct_worse_on_average() -> None:
    h = features().detach()
    module = build(shared=False, initialization="kmeans", update="ema")
    module(h.clone().requires_grad_())
    out = module.eval()(h)
    errors = []
    for depth in range(1, 4):
        z = sum(module.levels[level].lookup(out.indices[:, level]) for level in range(depth))
        assert isinstance(z, Tensor)
        errors.append((z.movedim(-1, 1) - h).square().mean().item())
    assert errors[0] > errors[1] > errors[2]


def test_fewer_codes_are_drawn_from_the_noise_alone() -> None:
    module, h = build(dropout=0.6).train(), features()
    assert module.noise_channels == 1
    quantiles = torch.tensor([0.1, 0.3, 0.5, 0.9])  # of 0.6: level 1, 2, 3, and not cut
    noise = torch.zeros(4, 1, *GRID)
    noise[:, 0, 0, 0] = torch.special.ndtri(quantiles)
    h = torch.cat([features().detach(), features(1).detach()]).requires_grad_()
    out = module(h, sample=True, noise=noise)
    whole = module.eval()(h)
    assert torch.equal(out.indices, whole.indices)
    parts = [book.lookup(whole.indices[:, level]).movedim(-1, 1) for level, book in enumerate(module.levels)]
    for sample, depth in enumerate((1, 2, 3, 3)):
        expected = sum(part[sample] for part in parts[:depth])
        torch.testing.assert_close(out.z[sample], expected)
    torch.manual_seed(1)
    again = module.train()(h, sample=True, noise=noise)
    assert torch.equal(again.z, out.z)
    assert torch.equal(module(h).z, whole.z)  # nothing is dropped where nothing is sampled
    assert torch.equal(module.eval()(h, sample=True, noise=noise).z, whole.z)


def test_codes_that_were_not_sent_neither_learn_nor_count() -> None:
    module = build(dropout=1.0, shared=False, update="ema").train()
    noise = torch.full((2, 1, *GRID), -5.0)  # one code each
    before = [book.codebook.clone() for book in module.levels]
    h = features()
    out = module(h, sample=True, noise=noise)
    torch.testing.assert_close(out.loss, 0.25 * (h - out.z.detach()).square().mean() / 3)
    assert not torch.allclose(module.levels[0].codebook, before[0])
    assert module.levels[1].counts.max() <= 1.0
    assert module.levels[0].counts.max() > 1.0 - 1e-6


def test_cosine_is_refused() -> None:
    with pytest.raises(ValueError, match="distance 'cosine'"):
        ResidualVQConfig(codebook_size=8, distance="cosine").build(4)
