"""A codebook for every token: parity with a loop over tokens, closed-form gradients, and cells that are split."""

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.token_vq import TokenVQ


def build(**settings: float) -> TokenVQ:
    torch.manual_seed(0)
    return TokenVQ(6, 8, 3, **settings)  # type: ignore[arg-type]  # numbers of every kind


def features(count: int = 6, batch: int = 5) -> Tensor:
    h = torch.randn(batch, 3, count, generator=torch.Generator().manual_seed(1))
    return h.requires_grad_()


def test_each_token_has_the_nearest_code_of_its_own_book() -> None:
    module, h = build().eval(), features()
    out = module(h)
    for token in range(6):
        distances = torch.cdist(h[:, :, token].detach(), module.codebooks[token].detach())
        assert torch.equal(out.indices[:, token], distances.argmin(dim=1))
        assert torch.allclose(out.z[:, :, token], module.codebooks[token][out.indices[:, token]], atol=1e-6)
    assert torch.allclose(module.decode_indices(out.indices, (6,)), out.z, atol=1e-6)
    short = module(h[..., :4])
    assert torch.equal(short.indices, out.indices[:, :4])


def test_gradients_are_those_of_the_two_terms() -> None:
    module, h = build(split_every=0), features()
    out = module(h)
    weights = torch.randn(out.z.shape, generator=torch.Generator().manual_seed(2))
    (out.loss + (out.z * weights).sum()).backward()
    q = module.decode_indices(out.indices, (6,)).detach()
    expected = weights + 2 * (h.detach() - q) / h.numel()  # straight through, and commitment
    assert h.grad is not None
    torch.testing.assert_close(h.grad, expected, atol=1e-6, rtol=1e-5)
    drawn = torch.zeros_like(module.codebooks)
    for token in range(6):
        for row in range(5):
            drawn[token, out.indices[row, token]] += 0.25 * 2 * (q - h.detach())[row, :, token] / h.numel()
    assert module.codebooks.grad is not None
    torch.testing.assert_close(module.codebooks.grad, drawn, atol=1e-6, rtol=1e-5)


def test_what_moves_a_code_is_counted_as_its_gradient() -> None:
    module, h = build(split_every=0), features()
    module(h).loss.backward()
    assert module.codebooks.grad is not None
    magnitude = module.codebooks.grad.abs().mean(dim=2)
    torch.testing.assert_close(
        module.moved / module.moved.sum(), magnitude / magnitude.sum(), atol=1e-6, rtol=1e-4
    )


def test_codes_that_nothing_moved_are_put_beside_the_most_moved() -> None:
    module = build(split_every=3)
    before = module.codebooks.detach().clone()
    for _ in range(2):
        module(features())
    assert torch.equal(module.codebooks, before)
    moved = module.moved.clone()
    module(features())
    moved = moved * 1.5  # three equal passes
    for token in range(6):
        live = int((moved[token] > 0).sum())
        order = moved[token].argsort(descending=True, stable=True)
        changed = (module.codebooks[token] != before[token]).any(dim=1)
        assert int(changed.sum()) == min(live, 8 - live)
        assert not changed[order[:live]].any()
        for source, target in zip(order[:live], order[live:], strict=False):
            assert torch.allclose(module.codebooks[token, target], before[token, source], atol=1.1e-4)
    assert float(module.moved.detach().sum()) == 0.0


def test_a_frozen_codebook_neither_learns_nor_splits() -> None:
    module = build(split_every=1)
    module.codebooks.requires_grad_(False)
    before = module.codebooks.clone()
    module(features())
    assert torch.equal(module.codebooks, before)
    assert int(module.passes) == 0


def test_more_tokens_than_codebooks_are_refused() -> None:
    with pytest.raises(ValueError, match="codebooks for 6 tokens, the latent has 7"):
        build()(features(count=7))
