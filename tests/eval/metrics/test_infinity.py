"""FD-infinity takes the bias out of a distance at small numbers."""

import numpy as np
import pytest
import torch

from eval.errors import NotComputedError
from eval.frechet import frechet_distance_of_sets
from eval.metrics.infinity import fd_infinity_score, intercept
from eval.protocols import canon_v1
from eval.protocols.settings import FDInfinitySettings

SETTINGS = FDInfinitySettings(points=15, smallest=100)
PROTOCOL = canon_v1(16, "fail").model_copy(update={"fd_infinity": SETTINGS})


def features(seed: int, n: int, d: int = 16) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_line_is_read_at_infinitely_many() -> None:
    sizes = np.array([100, 200, 400, 800])
    value, error = intercept(sizes, 7.0 + 50.0 / sizes)
    assert value == pytest.approx(7.0)
    assert error == pytest.approx(0.0, abs=1e-9)
    noisy, error = intercept(sizes, 7.0 + 50.0 / sizes + np.array([0.1, -0.1, 0.1, -0.1]))
    assert abs(noisy - 7.0) < 3 * error


def test_identical_distributions_come_nearer_to_zero() -> None:
    real, fake = features(0, 4000), features(1, 600)
    plain = frechet_distance_of_sets(real, fake)
    score = fd_infinity_score(PROTOCOL, real, fake)
    assert score.details["at_all_pictures"] == pytest.approx(plain, rel=1e-9)
    assert abs(score.value) < 0.6 * plain
    assert score.ci95[0] < score.value < score.ci95[1]
    assert fd_infinity_score(PROTOCOL, real, fake) == score


def test_too_few_pictures() -> None:
    with pytest.raises(NotComputedError, match="at least 200"):
        fd_infinity_score(PROTOCOL, features(2, 300), features(3, 199))
