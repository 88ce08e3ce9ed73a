"""Moments in closed form."""

import math

import pytest
import torch

from eval.measures.latents import LatentMoments


def test_two_values_of_equal_weight() -> None:
    """Values a and b: kurtosis 1, whatever they are."""
    moments = LatentMoments(2)
    z = torch.tensor([[[1.0, 3.0], [1.0, 3.0]], [[-4.0, 10.0], [10.0, -4.0]]]).unsqueeze(0)  # (1, 2, 2, 2)
    moments.add(z)
    found = moments.compute()
    assert found.mean == pytest.approx((2 + 3) / 2)
    assert found.rms == pytest.approx(math.sqrt((5 + 58) / 2))
    assert found.kurtosis == pytest.approx(1.0)
    assert found.dead == 0


def test_normal_and_uniform_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    moments = LatentMoments(1)
    for _ in range(20):
        moments.add(5 + 2 * torch.randn(50, 1, 20, 20, generator=generator))
    assert moments.compute().kurtosis == pytest.approx(3.0, abs=0.05)
    moments = LatentMoments(1)
    moments.add(torch.rand(100, 1, 50, 50, generator=generator))
    assert moments.compute().kurtosis == pytest.approx(1.8, abs=0.02)


def test_the_gap_to_the_prior_is_that_of_normal_distributions() -> None:
    """KL of N(2, 9) from N(0, 1) is (4 + 9 - 1 - ln 9) / 2."""
    moments = LatentMoments(2)
    z = torch.randn(200, 2, 40, 40, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 2 + 3 * z[:, 1]
    moments.add(z)
    assert moments.compute().prior_gap == pytest.approx((12 - math.log(9)) / 4, abs=0.02)


def test_batches_add_up() -> None:
    z = torch.randn(12, 3, 4, 5)
    whole, parts = LatentMoments(3), LatentMoments(3)
    whole.add(z)
    for batch in z.split(5):
        parts.add(batch)
    assert parts.compute().kurtosis == pytest.approx(whole.compute().kurtosis, abs=1e-9)
    assert parts.compute().rms == pytest.approx(z.double().square().mean().sqrt().item(), abs=1e-9)


def test_dead_channels_are_counted_and_left_out_of_the_kurtosis() -> None:
    z = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    alive = LatentMoments(3)
    alive.add(z[:, :3])
    z[:, 3] = 7 + 1e-4 * z[:, 3]
    moments = LatentMoments(4)
    moments.add(z)
    assert moments.compute().dead == 0.25
    assert moments.compute().kurtosis == pytest.approx(alive.compute().kurtosis)
    flat = LatentMoments(2)
    flat.add(torch.ones(1, 2, 3, 3))
    assert flat.compute().dead == 1.0


def test_nothing_counted() -> None:
    with pytest.raises(ValueError, match="no latents"):
        LatentMoments(1).compute()
