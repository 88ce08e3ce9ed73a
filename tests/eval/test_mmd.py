"""Maximum mean discrepancy: its definition by loops, and the spread of repeated draws."""

import numpy as np
import pytest
import torch

from eval.mmd import jackknife_std, squared_mmd


def rows(seed: int, n: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) + shift


def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.exp(-torch.cdist(x, y).square() / 8.0)


@pytest.mark.parametrize("unbiased", [True, False])
def test_equals_its_definition(unbiased: bool) -> None:
    x, y = rows(0, 7).double(), rows(1, 5, shift=0.5).double()

    def mean(a: torch.Tensor, b: torch.Tensor, own: bool) -> float:
        pairs = [
            float(kernel(a[i : i + 1], b[j : j + 1]))
            for i in range(len(a))
            for j in range(len(b))
            if not (own and unbiased and i == j)
        ]
        return sum(pairs) / len(pairs)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    assert squared_mmd(x, y, kernel, unbiased=unbiased) == pytest.approx(expected, rel=1e-12)


def test_the_biased_one_is_zero_for_equal_sets_and_never_below() -> None:
    assert squared_mmd(rows(2, 20), rows(2, 20), kernel, unbiased=False) == pytest.approx(0.0, abs=1e-12)
    assert all(squared_mmd(rows(i, 9), rows(100 + i, 9), kernel, unbiased=False) > 0 for i in range(10))


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_jackknife_tells_the_spread_of_repeated_draws(unbiased: bool) -> None:
    draws = [(rows(i, 100), rows(900 + i, 100, shift=0.5)) for i in range(40)]
    spread = np.std([squared_mmd(x, y, kernel, unbiased=unbiased) for x, y in draws])
    told = np.mean([jackknife_std(x, y, kernel, unbiased=unbiased) for x, y in draws[:10]])
    assert 0.6 < told / spread < 1.6
    assert np.isnan(jackknife_std(rows(0, 3), rows(1, 3), kernel, unbiased=unbiased))
