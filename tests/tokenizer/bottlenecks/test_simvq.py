"""SimVQ: one linear layer moves all codes, the frozen ones stay; parity with vector-quantize-pytorch."""

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import SimVQ as TheirSimVQ

from tokenizer.bottlenecks.simvq import SimVQ
from tokenizer.layers.estimators import Estimator

GRID = (5, 7)


def build(estimator: Estimator = "straight_through") -> SimVQ:
    torch.manual_seed(0)
    return SimVQ(40, 6, estimator=estimator)


def features() -> Tensor:
    return torch.randn(2, 6, *GRID, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_it_equals_vector_quantize_pytorch(estimator: Estimator) -> None:
    ours = build(estimator)
    theirs = TheirSimVQ(6, 40, channel_first=True, rotation_trick=estimator == "rotation")
    with torch.no_grad():
        theirs.frozen_codebook.copy_(ours.basis)
        theirs.code_transform.weight.copy_(ours.projection.weight)
    mine, plain = features(), features()
    out = ours(mine)
    z, indices, loss = theirs(plain)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.z, z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.loss, loss, atol=1e-6, rtol=1e-5)
    weights = torch.randn(out.z.shape, generator=torch.Generator().manual_seed(2))
    (out.loss + (out.z * weights).sum()).backward()
    (loss + (z * weights).sum()).backward()
    torch.testing.assert_close(mine.grad, plain.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        ours.projection.weight.grad, theirs.code_transform.weight.grad, atol=1e-5, rtol=1e-4
    )


def test_a_step_for_one_position_moves_codes_that_nothing_chose() -> None:
    """With codes as parameters, those that are not chosen would have no gradient."""
    module = build()
    before, frozen = module.codebook.detach().clone(), module.basis.clone()
    out = module(features()[:1, :, :1, :1])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    out.loss.backward()
    optimizer.step()
    moved = (module.codebook - before).abs().amax(dim=1)
    assert (moved > 0).all()
    assert torch.equal(module.basis, frozen)
    assert [name for name, _ in module.named_parameters()] == ["projection.weight"]
    assert "basis" in module.state_dict()
