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


def test_channels_one_by_one_and_how_far_they_reach() -> None:
    z = torch.tensor([[[0.0, 0.0, 0.0, 8.0], [1.0, 3.0, 1.0, 3.0]]])  # (1, 2, 4)
    moments = LatentMoments(2)
    moments.add(z)
    found = moments.channels()
    assert found.mean.tolist() == [2.0, 2.0]
    assert found.std.tolist() == pytest.approx([math.sqrt(12), 1.0])
    assert found.peak.tolist() == pytest.approx([6 / math.sqrt(12), 1.0])
    assert (found.low.tolist(), found.high.tolist()) == ([0.0, 1.0], [8.0, 3.0])
    assert found.kurtosis[1] == pytest.approx(1.0)
    assert found.prior_gap[1] == pytest.approx(4 / 2)
    still = LatentMoments(1)
    still.add(torch.full((1, 1, 4), 3.0))
    assert (still.channels().peak.item(), still.channels().kurtosis.item()) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no channel moves"):
        still.rank()


def test_rank_counts_directions_not_channels() -> None:
    base = torch.randn(400, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    independent, copied = LatentMoments(4), LatentMoments(4)
    independent.add(torch.randn(400, 4, 6, 6, generator=torch.Generator().manual_seed(1)))
    copied.add(torch.cat([base, -base], dim=1))  # four channels, two directions
    assert independent.rank().entropy == pytest.approx(4.0, abs=0.01)
    assert copied.rank().entropy == pytest.approx(2.0, abs=0.01)
    assert copied.rank().participation == pytest.approx(2.0, abs=0.01)
    values = copied.rank().eigenvalues
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    assert values[2:].abs().max() < 1e-9


def test_parts_add_up_through_their_state() -> None:
    z = torch.randn(11, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole, merged = LatentMoments(3), LatentMoments(3)
    whole.add(z)
    for batch in z.split(4):
        part = LatentMoments(3)
        part.add(batch)
        merged.merge(part)
    assert merged.count == whole.count
    assert torch.allclose(merged.rank().eigenvalues, whole.rank().eigenvalues, atol=1e-12)
    assert merged.channels().high.tolist() == whole.channels().high.tolist()
    assert merged.compute().kurtosis == pytest.approx(whole.compute().kurtosis, abs=1e-9)
