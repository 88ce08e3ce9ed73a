"""Laws of the Frechet distance."""

import numpy as np
import pytest
import scipy.linalg
import torch

from eval.errors import NotComputedError
from eval.metrics.fid import FrechetInceptionDistance, Moments, frechet_distance, frechet_distance_of_few
from eval.protocols import canon_v1

PROTOCOL = canon_v1(16, "fail")


def features(seed: int, n: int, d: int, *, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / d**0.5
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + shift


def extract(pictures: torch.Tensor) -> torch.Tensor:
    """A stand-in for the network in tests of the bookkeeping: 12 averages of each picture."""
    return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1) / 255


def pictures(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)


def metric(*, paired: bool = True) -> FrechetInceptionDistance:
    return FrechetInceptionDistance(PROTOCOL, extract, (), paired=paired)


def test_distance_of_a_set_to_itself_is_zero() -> None:
    x = features(0, 400, 16)
    assert frechet_distance(Moments.of(x), Moments.of(x)) == pytest.approx(0.0, abs=1e-9)
    few = features(0, 10, 32)
    assert frechet_distance_of_few(few, few) == pytest.approx(0.0, abs=1e-9)


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


def test_equals_the_general_square_root_at_full_rank() -> None:
    x, y = features(2, 500, 24), features(3, 500, 24, scale=1.3, shift=0.2)
    a, b = Moments.of(x), Moments.of(y)
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    spread = np.trace((a.covariance + b.covariance).numpy() - 2 * root.real)
    expected = np.square((a.mean - b.mean).numpy()).sum() + spread
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_both_ways_agree_where_covariances_are_singular() -> None:
    x, y = features(4, 20, 64), features(5, 20, 64, scale=1.2)
    few, general = frechet_distance_of_few(x, y), frechet_distance(Moments.of(x), Moments.of(y))
    assert few == pytest.approx(general, rel=1e-6)
    full = features(6, 100, 12), features(7, 100, 12)
    assert frechet_distance_of_few(*full) == pytest.approx(
        frechet_distance(Moments.of(full[0]), Moments.of(full[1])), rel=1e-9
    )


def test_moments_of_parts_add_up() -> None:
    x = features(8, 90, 12)
    parts = Moments.of(x[:13]) + Moments.of(x[13:50]) + Moments.of(x[50:])
    torch.testing.assert_close(parts.covariance, torch.cov(x.T), rtol=1e-12, atol=1e-12)
    assert parts.total.dtype == torch.float64


@pytest.mark.parametrize("count", [9, 60])
def test_metrics_of_parts_merge_into_the_whole(count: int) -> None:
    real, fake = pictures(0, count), pictures(1, count)
    whole, first, second = metric(), metric(), metric()
    whole.update(real, fake)
    first.update(real[:5], fake[:5])
    second.update(real[5:], fake[5:])
    first.merge(second)
    merged, expected = first.compute(), whole.compute()
    assert merged.value == pytest.approx(expected.value, rel=1e-9)
    assert merged.num_images == count
    assert ("warning" in expected.details) == (count == 9)  # told when there are fewer pictures than features


def test_paired_identity_is_zero_with_a_tight_interval_and_unpaired_is_not() -> None:
    same = pictures(2, 40)
    paired, unpaired = metric(paired=True), metric(paired=False)
    paired.update(same, same)
    unpaired.update(same, same)
    assert paired.compute().ci95 == pytest.approx((0.0, 0.0), abs=1e-8)
    assert unpaired.compute().ci95[1] > 1e-4  # resampled independently, the two sets differ


def test_interval_contains_the_value() -> None:
    made = metric(paired=False)
    made.update_real(pictures(3, 50))
    made.update_fake(pictures(4, 30))
    score = made.compute()
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert (score.details["num_real"], score.details["num_fake"]) == (50, 30)


def test_one_picture_is_not_enough() -> None:
    made = metric()
    made.update(pictures(5, 1), pictures(6, 1))
    with pytest.raises(NotComputedError, match="at least 2"):
        made.compute()
