"""Schedules in closed form, and an optimizer's state without pickle."""

import copy

import pytest
import torch
from torch import nn

from tokenizer.core import optim
from tokenizer.core.optim import OptimConfig


def test_warmup_and_cosine() -> None:
    config = OptimConfig(lr=1.0, warmup_images=100, schedule="cosine", final_ratio=0.1)
    assert config.lr_at(0, 1100, 10) == pytest.approx(10 / 110)
    assert config.lr_at(100, 1100, 10) == pytest.approx(1.0)
    assert config.lr_at(600, 1100, 10) == pytest.approx(0.55)
    assert config.lr_at(1100, 1100, 10) == pytest.approx(0.1)


def test_the_rate_is_stated_for_a_batch() -> None:
    assert OptimConfig(lr=1e-4, lr_batch=256).lr_at(0, 1, 64) == pytest.approx(0.25e-4)
    assert OptimConfig(lr=1e-4).lr_at(0, 1, 64) == pytest.approx(1e-4)


def test_only_kernels_decay() -> None:
    layer = nn.Linear(2, 2)
    optimizer = OptimConfig(lr=0.1, weight_decay=0.5).build(layer)
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.zeros(2)
    before = copy.deepcopy(layer.state_dict())
    optimizer.step()
    assert torch.allclose(layer.weight, before["weight"] * 0.95)
    assert torch.equal(layer.bias, before["bias"])


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter trains"):
        OptimConfig().build(nn.Linear(1, 1).requires_grad_(False))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_state_survives(kind: str) -> None:
    def run(steps: int, layer: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for step in range(steps):
            layer(torch.full((1, 2), 1.0 + step)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    config = OptimConfig.parse({"kind": kind, "lr": 0.01, "weight_decay": 0.1})
    first = nn.Linear(2, 2)
    optimizer = config.build(first)
    run(3, first, optimizer)
    second = copy.deepcopy(first)
    resumed = config.build(second)
    tensors, text = optim.pack(optimizer)
    optim.unpack(resumed, {name: value.clone() for name, value in tensors.items()}, text)
    run(2, first, optimizer)
    run(2, second, resumed)
    assert torch.equal(first.weight, second.weight)


def test_state_survives_in_the_memory_format_of_its_parameter() -> None:
    """Saved tensors are contiguous; a fused optimizer reads state and kernel in the order of their memory."""

    def run(steps: int, layer: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for step in range(steps):
            layer(torch.linspace(-1, 1, 75).reshape(1, 3, 5, 5) + step).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = OptimConfig(lr=0.01).build(first)
    run(2, first, optimizer)
    tensors, text = optim.pack(optimizer)
    second = copy.deepcopy(first)
    resumed = OptimConfig(lr=0.01).build(second)
    optim.unpack(
        resumed,
        {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()},
        text,
    )
    moments = resumed.state[second.weight]["exp_avg"]
    assert moments.stride() == second.weight.stride() != moments.contiguous().stride()
    run(2, first, optimizer)
    run(2, second, resumed)
    assert torch.equal(first.weight, second.weight)
