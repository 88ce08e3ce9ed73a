"""Entropies of codes against tables of all codes, which the functions never make."""

import math

import pytest
import torch
from torch import Tensor

from tokenizer.layers.entropy import (
    bit_balance,
    bit_entropy,
    check_group,
    code_entropies,
    distribution_entropy,
    mean_distribution,
)

PAPERS = pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])


def logits_of(spread: float, *shape: int) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return spread * noise


def all_codes(num_bits: int) -> Tensor:
    """(2^D, D) of -1 and 1, first bit most significant."""
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * num_bits).view(
        -1, num_bits
    )


def table(logits: Tensor) -> Tensor:
    """Brute force: (N, D) -> the distribution over all codes at each position (N, 2^D)."""
    return torch.softmax(0.5 * logits @ all_codes(logits.shape[1]).T, dim=-1)


@PAPERS
def test_both_entropies_are_those_of_the_whole_table(spread: float) -> None:
    logits = logits_of(spread, 2, 5, 3, 4)
    p = table(logits.movedim(1, -1).reshape(-1, 5))
    got = code_entropies(logits, 5)
    sample = -(p * p.log()).sum(dim=1).mean()
    mean = p.mean(dim=0)
    assert got.sample.item() == pytest.approx(sample.item(), abs=1e-9)
    assert got.batch.item() == pytest.approx(-(mean * mean.log()).sum().item(), abs=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_the_mean_distribution_is_the_table_s_mean(size: int) -> None:
    logits = logits_of(2.0, 20, 1, size)
    torch.testing.assert_close(mean_distribution(logits)[0], table(logits[:, 0]).mean(dim=0))


def test_groups_add_up() -> None:
    logits = logits_of(1.0, 2, 6, 5)
    parts = [code_entropies(part, 3) for part in logits.split(3, dim=1)]
    whole = code_entropies(logits, 3)
    assert whole.sample.item() == pytest.approx(sum(part.sample.item() for part in parts))
    assert whole.batch.item() == pytest.approx(sum(part.batch.item() for part in parts))


def test_smaller_groups_bound_the_entropy_from_above() -> None:
    logits = logits_of(3.0, 1, 6, 10)
    values = [code_entropies(logits, size).batch.item() for size in (6, 3, 1)]
    assert values[0] < values[1] < values[2]
    alone = code_entropies(logits[..., :1], 6).batch.item()  # one position: its bits are independent
    assert alone == pytest.approx(code_entropies(logits[..., :1], 1).batch.item())


def test_the_gradient_is_the_table_s() -> None:
    logits = logits_of(1.0, 8, 4).requires_grad_()
    p = table(logits)
    mean = p.mean(dim=0)
    (expected,) = torch.autograd.grad((p * p.log()).sum(dim=1).mean() - (mean * mean.log()).sum(), logits)
    entropies = code_entropies(logits.unsqueeze(-1), 4)
    (got,) = torch.autograd.grad(entropies.batch - entropies.sample, logits)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("size", [0.0, 1.0, 40.0, 1e4])
def test_decided_bits_are_finite_with_their_gradients(size: float) -> None:
    logits = torch.tensor([[size, -size]]).unsqueeze(-1).requires_grad_()
    entropies = code_entropies(logits, 2)
    (entropies.sample + entropies.batch).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    p = 1.0 / (1.0 + math.exp(-size)) if size < 700 else 1.0
    exact = 0.0 if p == 1.0 else -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert bit_entropy(torch.tensor(size)).item() == pytest.approx(exact, abs=1e-6)
    assert entropies.sample.item() == pytest.approx(2 * exact, abs=1e-5)


def test_an_even_distribution_has_the_log_of_its_size() -> None:
    assert distribution_entropy(torch.full((8,), 1 / 8)).item() == pytest.approx(math.log(8))
    assert distribution_entropy(torch.eye(3)).tolist() == [0.0, 0.0, 0.0]


def test_eighteen_bits_are_affordable_and_exact() -> None:
    logits = torch.zeros(2, 18, 16)
    assert code_entropies(logits, 18).batch.item() == pytest.approx(18 * math.log(2), rel=1e-5)


def test_bit_balance() -> None:
    half = torch.tensor([True, False]).view(2, 1, 1)
    assert bit_balance(half).item() == pytest.approx(1.0)
    assert bit_balance(torch.ones(3, 2, 4, dtype=torch.bool)).item() == 0.0
    assert bit_balance(torch.cat([half, torch.ones_like(half)], dim=1)).item() == pytest.approx(0.5)


def test_a_group_divides_the_bits() -> None:
    assert check_group(9, 18) == 9
    with pytest.raises(ValueError, match="group_bits 4 must divide the 18 bits.* from 1, 2, 3, 6, 9, 18"):
        check_group(4, 18)
    with pytest.raises(ValueError, match="group_bits 32 must divide the 32 bits and be at most 20"):
        check_group(32, 32)
