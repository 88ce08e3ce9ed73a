"""Intervals, and the refusal of anything but uint8 pairs."""

import numpy as np
import pytest
import torch

from eval.metrics.score import bootstrap_mean, check_pair, mean_score


def test_interval_contains_the_value_and_repeats() -> None:
    values = np.random.default_rng(0).normal(25, 4, 60).tolist()
    score = mean_score(values, resamples=300, seed=0)
    assert score.ci95[0] < score.value < score.ci95[1]
    assert score.ci95 == mean_score(values, resamples=300, seed=0).ci95
    assert score.ci95 != mean_score(values, resamples=300, seed=1).ci95


def test_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap_mean(values.tolist(), resamples=2000, seed=0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_one_picture_has_an_interval_of_one_point() -> None:
    score = mean_score([3.0], resamples=10, seed=0)
    assert score.ci95 == (3.0, 3.0)


@pytest.mark.parametrize(
    ("real", "fake", "match"),
    [
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "real must be uint8"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.rand(1, 3, 4, 4), "fake must be uint8"),
        (
            torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
            torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
            "B, 3, H, W",
        ),
        (
            torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            torch.zeros(1, 3, 4, 5, dtype=torch.uint8),
            "pairs have one shape",
        ),
    ],
)
def test_pairs_are_checked(real: torch.Tensor, fake: torch.Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_pair(real, fake)
