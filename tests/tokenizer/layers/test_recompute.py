"""Recomputed blocks give the same values and gradients, write statistics once, and keep less."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tokenizer.layers.recompute import recompute_blocks


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.calls = 0

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        self.calls += 1
        y: Tensor = torch.relu(self.norm(self.conv(x)))
        return y if shift is None else y + shift


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(Block() for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x, shift=x.mean())
        return x

    def blocks(self) -> Iterator[nn.Module]:
        yield from self.stages


def pair() -> tuple[Network, Network, Tensor]:
    torch.manual_seed(0)
    plain = Network()
    other = copy.deepcopy(plain)
    recompute_blocks(other)
    return plain, other, torch.randn(2, 4, 8, 8)


def calls(network: Network) -> list[int]:
    return [block.calls for block in network.stages if isinstance(block, Block)]


def test_same_gradients_names_and_statistics() -> None:
    plain, other, x = pair()
    for network in (plain, other):
        network(x).square().mean().backward()
    assert calls(plain) == [1, 1, 1, 1]
    assert calls(other) == [2, 2, 2, 2]
    assert list(other.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(other.state_dict()[name], value) for name, value in plain.state_dict().items())
    assert plain.state_dict()["stages.0.norm.num_batches_tracked"] == 1
    for (name, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.equal(one.grad, two.grad), name


def test_gradients_taken_twice_are_the_same() -> None:
    """The adaptive weight of an adversary walks back from one graph several times."""
    plain, other, x = pair()
    found = []
    for network in (plain, other):
        weight = network.stages[3].get_parameter("conv.weight")
        y = network(x)
        norms = [
            torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (y.sum(), y.square().sum())
        ]
        y.mean().backward()
        found.append([*norms, network.stages[0].get_parameter("conv.weight").grad])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_without_gradients_each_block_runs_once() -> None:
    _, other, x = pair()
    with torch.no_grad():
        other(x)
    assert calls(other) == [1, 1, 1, 1]


def test_doing_it_again_changes_nothing_and_a_copy_is_its_own() -> None:
    _, other, x = pair()
    recompute_blocks(other)
    other(x).mean().backward()
    assert calls(other) == [2, 2, 2, 2]
    twin = copy.deepcopy(other)
    with torch.no_grad():
        twin.stages[0].get_parameter("conv.weight").mul_(2)
    assert not torch.equal(twin(x), other(x))


class Silent(Network):
    """The same without counting, which a compiled graph could not do."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(3))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stages(x)
        return y


def test_it_compiles() -> None:
    """One graph, the same gradients, statistics written once."""
    torch.manual_seed(0)
    plain, x = Silent(), torch.randn(2, 4, 8, 8)
    other = copy.deepcopy(plain)
    recompute_blocks(other)
    other.compile(backend="aot_eager", fullgraph=True)
    for network in (plain, other):
        network(x).square().mean().backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.allclose(one.grad, two.grad, atol=1e-6)
    state = other.state_dict()
    assert all(torch.allclose(state[name], value) for name, value in plain.state_dict().items())


def test_a_network_that_names_no_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="names no blocks"):
        recompute_blocks(nn.Conv2d(1, 1, 1))
