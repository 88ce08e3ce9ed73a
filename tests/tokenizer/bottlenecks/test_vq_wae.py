"""VQ-WAE: transport moves all codes to the features; its settled potential is part of the state."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.vq import VQConfig
from tokenizer.bottlenecks.vq_wae import VQWAE, VQWAEConfig, mean_square_distance


def build(**settings: Any) -> VQWAE:
    torch.manual_seed(0)
    return VQWAEConfig.parse({"codebook_size": 64, **settings}).build(2)


def features(seed: int = 0, side: int = 8) -> Tensor:
    """A cloud far from zero, where the codes begin."""
    generator = torch.Generator().manual_seed(seed)
    return (3.0 + torch.randn(4, 2, side, side, generator=generator)).requires_grad_()


def train(module: Any, steps: int) -> Any:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for seed in range(steps):
        optimizer.zero_grad()
        module(features(seed).detach()).loss.backward()
        optimizer.step()
    return module.eval()(features(1000, side=32).detach())


def test_the_cost_is_the_mean_square_distance() -> None:
    rows, codes = torch.randn(9, 3), torch.randn(5, 3)
    expected = (rows[:, None] - codes[None]).square().mean(dim=2)
    torch.testing.assert_close(mean_square_distance(rows, codes), expected, atol=1e-5, rtol=1e-5)


def test_more_codes_are_used_and_nearer_than_with_nearest_code_gradients() -> None:
    """The paper's promise: where VQ moves the few codes that are chosen, transport moves all."""
    module, plain = build(), VQConfig(codebook_size=64).build(2)
    before = module(features()).stats["wasserstein"]
    out, other = train(module, 150), train(plain, 150)
    assert out.stats["used"] > 0.6
    assert out.stats["used"] > 2 * other.stats["used"]
    assert out.stats["perplexity"] > 2 * other.stats["perplexity"]
    h = features(1000, side=32)
    assert (out.z - h).square().mean() < (other.z - h).square().mean()
    assert out.stats["wasserstein"] < 0.1 * before


def test_an_even_share_for_each_code_where_that_is_asked_for() -> None:
    uneven, even = build(evenness=0.0), build(evenness=10.0)
    assert train(even, 60).stats["kl_uniform"] < 0.5 * train(uneven, 60).stats["kl_uniform"]


def test_the_gradient_moves_features_and_codes_towards_each_other() -> None:
    module, h = build(), features()
    out = module(h)
    out.loss.backward()
    assert h.grad is not None
    assert (h.grad * h.detach()).sum() > 0  # descent shortens: codes begin near zero
    assert module.book.codebook.grad is not None
    assert (module.book.codebook.grad.abs().amax(dim=1) > 0).all()
    assert module.logits.grad is not None


def test_the_potential_is_kept_and_eval_leaves_it() -> None:
    module = build()
    module(features())
    kept = module.potential.clone()
    assert kept.abs().max() > 0
    module.eval()(features(1))
    assert torch.equal(module.potential, kept)
    other = build()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.eval()(features(2)).loss, module(features(2)).loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_indices_to_z_and_back_is_the_identity(dtype: torch.dtype) -> None:
    module = build().eval()
    torch.nn.init.normal_(module.book.codebook)
    module = module.to(dtype)
    indices = torch.randint(0, 64, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(module.decode_indices(indices, (4, 5))).indices, indices)
