"""Accumulation equals the whole batch; steps that are not finite are skipped, and too many stop the run."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tokenizer.core.descent import MAX_SKIPPED, Descent, DivergedError
from tokenizer.core.optim import OptimConfig


def make(layer: nn.Module, **changes: object) -> Descent:
    config = OptimConfig.parse({"kind": "sgd", "lr": 0.1, "max_norm": None} | changes)
    return Descent(Accelerator(cpu=True), layer, config.build(layer), config, 100, 4)


def test_micro_batches_equal_the_batch() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for count in (1, 2):
        torch.manual_seed(0)
        layer = nn.Linear(3, 1)
        descent = make(layer)
        for turn, part in enumerate(x.chunk(count)):
            with descent.accumulating(turn + 1 == count):
                descent.backward(layer(part).square().mean() / count)
        descent.step(0)
        results.append(layer.weight.detach().clone())
    assert torch.allclose(*results, atol=1e-7)


def test_clipping_limits_the_step() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    descent = make(layer, max_norm=0.5)
    descent.backward(100 * layer(torch.ones(1, 1)).sum())
    norm = descent.step(0)
    assert norm == pytest.approx(100)
    assert float(layer.weight.detach()) == pytest.approx(-0.05, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite_is_skipped(bad: float) -> None:
    layer = nn.Linear(1, 1)
    before = layer.weight.detach().clone()
    descent = make(layer)
    descent.backward(layer(torch.full((1, 1), bad)).sum())
    assert descent.step(0) is None
    assert torch.equal(layer.weight, before)
    assert layer.weight.grad is None
    descent.backward(layer(torch.ones(1, 1)).sum())
    assert descent.step(4) is not None
    assert descent.skipped_in_a_row == 0


def test_too_many_stop_the_run() -> None:
    layer = nn.Linear(1, 1)
    descent = make(layer)

    def poison(images: int) -> None:
        descent.backward(layer(torch.full((1, 1), float("nan"))).sum())
        descent.step(images)

    for images in range(MAX_SKIPPED - 1):
        poison(images)
    with pytest.raises(DivergedError, match="lower optim.lr"):
        poison(MAX_SKIPPED)
