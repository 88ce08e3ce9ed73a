"""Precision and recall: torch-fidelity's numbers, ADM's arithmetic, and who is inside whom."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from eval.errors import NotComputedError
from eval.metrics.manifold import precision_recall_score, radii, squared_distances
from eval.protocols import canon_v1

PROTOCOL = canon_v1(16, "fail")


def features(seed: int, n: int, *, scale: float = 1.0, d: int = 8) -> torch.Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def both(real: torch.Tensor, fake: torch.Tensor) -> tuple[float, float]:
    precision = precision_recall_score(PROTOCOL, real, fake, which="precision").value
    return precision, precision_recall_score(PROTOCOL, real, fake, which="recall").value


def test_equals_torch_fidelity() -> None:
    real, fake = features(0, 90), features(1, 70, scale=0.6)
    theirs = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=32, save_cpu_ram=False, verbose=False
    )
    assert both(real, fake) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-7)
    assert theirs["precision"] - theirs["recall"] > 0.2  # timid pictures: precise, and missing much


def test_equals_adms_arithmetic() -> None:
    """Squared distances by norms and a product, the third of a sorted row without itself, any over the other set."""
    real, fake = features(2, 50), features(3, 40, scale=0.7)

    def pairwise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.maximum((u**2).sum(1)[:, None] - 2 * u @ v.T + (v**2).sum(1)[None], 0.0)

    a, b = real.double().numpy(), fake.double().numpy()
    radii_a, radii_b = np.sort(pairwise(a, a), axis=1)[:, 3], np.sort(pairwise(b, b), axis=1)[:, 3]
    between = pairwise(a, b)
    expected = ((between <= radii_a[:, None]).any(axis=0).mean(), (between <= radii_b).any(axis=1).mean())
    assert both(real, fake) == pytest.approx(expected, abs=1e-12)


def test_a_set_is_inside_itself_and_a_far_one_is_not() -> None:
    x = features(4, 40)
    assert both(x, x) == (1.0, 1.0)
    assert both(x, x + 100.0) == (0.0, 0.0)
    score = precision_recall_score(PROTOCOL, x, features(5, 40, scale=1.5), which="precision")
    assert score.ci95[0] <= score.value <= score.ci95[1]


def test_equal_rows_are_at_distance_zero() -> None:
    x = features(6, 10, d=64) + 30.0
    assert squared_distances(x, x).diagonal().tolist() == [0.0] * 10
    assert radii(x[:1].repeat(6, 1)).tolist() == [0.0] * 6


def test_too_few_pictures() -> None:
    with pytest.raises(NotComputedError, match="more than 3"):
        both(features(7, 3), features(8, 30))
