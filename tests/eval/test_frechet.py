"""Laws of the Frechet distance, and agreement with scipy and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid

from eval.frechet import (
    Moments,
    frechet_distance,
    frechet_distance_of_few,
    frechet_distance_of_gaussians,
    frechet_distance_of_sets,
    is_few,
)


def features(seed: int, n: int, d: int, *, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / d**0.5
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + shift


def test_distance_of_a_set_to_itself_is_zero() -> None:
    x = features(0, 400, 16)
    assert frechet_distance(Moments.of(x), Moments.of(x)) == pytest.approx(0.0, abs=1e-9)
    few = features(0, 10, 32)
    assert frechet_distance_of_few(few, few) == pytest.approx(0.0, abs=1e-9)


def test_it_is_symmetric() -> None:
    x, y = features(1, 300, 16), features(2, 200, 16, scale=1.4, shift=0.1)
    assert frechet_distance_of_sets(x, y) == pytest.approx(frechet_distance_of_sets(y, x), rel=1e-9)


def test_closed_form_of_diagonal_gaussians() -> None:
    """|m|^2 + sum (s_a - s_b)^2 for covariances that commute."""
    n = 50
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    variances_a, variances_b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.25]).double()

    def moments(mean: torch.Tensor, variances: torch.Tensor) -> Moments:
        outer = torch.diag(variances) * (n - 1) + n * torch.outer(mean, mean)
        return Moments(n, n * mean, outer)

    expected = mean.square().sum() + (variances_a.sqrt() - variances_b.sqrt()).square().sum()
    distance = frechet_distance(moments(torch.zeros(3).double(), variances_a), moments(mean, variances_b))
    assert distance == pytest.approx(expected.item(), abs=1e-10)


def test_a_shift_costs_its_square() -> None:
    x = features(1, 300, 8)
    assert frechet_distance(Moments.of(x), Moments.of(x + 0.5)) == pytest.approx(8 * 0.25, abs=1e-8)


def test_equals_scipy_and_torchmetrics_at_full_rank() -> None:
    x, y = features(2, 500, 24), features(3, 500, 24, scale=1.3, shift=0.2)
    a, b = Moments.of(x), Moments.of(y)
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    spread = np.trace((a.covariance + b.covariance).numpy() - 2 * root.real)
    expected = np.square((a.mean - b.mean).numpy()).sum() + spread
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)
    theirs = _compute_fid(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(theirs.item(), rel=1e-9)


def test_both_ways_agree_where_covariances_are_singular() -> None:
    x, y = features(4, 20, 64), features(5, 20, 64, scale=1.2)
    assert is_few(x, y)
    few, general = frechet_distance_of_few(x, y), frechet_distance(Moments.of(x), Moments.of(y))
    assert few == pytest.approx(general, rel=1e-6)
    assert frechet_distance_of_sets(x, y) == few
    full = features(6, 100, 12), features(7, 100, 12)
    assert frechet_distance_of_few(*full) == pytest.approx(frechet_distance_of_sets(*full), rel=1e-9)


def test_a_covariance_that_is_exactly_singular_takes_the_other_root() -> None:
    """Cholesky has no factor where a feature never moves."""
    x, y = features(8, 100, 6), features(9, 100, 6)
    x[:, 2] = y[:, 2] = 0.25
    a, b = Moments.of(x), Moments.of(y)
    kept = [0, 1, 3, 4, 5]
    expected = frechet_distance(Moments.of(x[:, kept]), Moments.of(y[:, kept]))
    zeroed = a.covariance.clone()
    zeroed[2], zeroed[:, 2] = 0.0, 0.0
    assert torch.linalg.cholesky_ex(zeroed).info.item() != 0
    distance = frechet_distance_of_gaussians(a.mean, zeroed, b.mean, b.covariance)
    assert distance == pytest.approx(expected, abs=1e-7)


def test_moments_of_parts_add_up() -> None:
    x = features(8, 90, 12)
    parts = Moments.of(x[:13]) + Moments.of(x[13:50]) + Moments.of(x[50:])
    torch.testing.assert_close(parts.covariance, torch.cov(x.T), rtol=1e-12, atol=1e-12)
    assert parts.total.dtype == torch.float64


def test_sums_are_float64_whatever_the_features_are() -> None:
    """A large common offset eats the digits of float32 sums."""
    x = features(9, 3000, 4) + 1000.0
    expected = torch.cov(x.float().double().T)
    torch.testing.assert_close(Moments.of(x.float()).covariance, expected, rtol=1e-5, atol=1e-6)
    outer = (x.float().T @ x.float()).double()
    naive = (outer - torch.outer(x.float().sum(0).double(), x.float().sum(0).double()) / 3000) / 2999
    assert (naive - expected).abs().max() > 100 * (Moments.of(x.float()).covariance - expected).abs().max()
