"""CMMD: the published arithmetic, its limits, and its interval."""

import pytest
import torch
from torch import Tensor

from eval.metrics.cmmd import cmmd_score, gaussian_kernel
from eval.protocols import canon_v1

PROTOCOL = canon_v1(16, "fail")


def embeddings(seed: int, n: int, shift: float = 0.0) -> Tensor:
    rows = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))
    rows[:, 0] += shift
    return torch.nn.functional.normalize(rows, dim=1)


def published(x: Tensor, y: Tensor) -> float:
    """1000 times the biased estimate under sigma 10, every pair counted, from the matrices of products."""
    x, y = x.double(), y.double()

    def mean(a: Tensor, b: Tensor) -> Tensor:
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
        return torch.exp(-squares / (2 * 10**2)).mean()

    return float(1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y)))


def test_equals_the_published_arithmetic() -> None:
    x, y = embeddings(0, 40), embeddings(1, 30, shift=0.5)
    score = cmmd_score(PROTOCOL, x, y)
    assert score.value == pytest.approx(published(x, y), rel=1e-9)
    assert score.ci95[0] < score.value < score.ci95[1]
    assert score.num_images == 30


def test_equal_sets_are_zero_and_distance_grows() -> None:
    x = embeddings(2, 50)
    assert cmmd_score(PROTOCOL, x, x).value == pytest.approx(0.0, abs=1e-9)
    near, far = (cmmd_score(PROTOCOL, x, embeddings(3, 50, shift=shift)).value for shift in (0.2, 2.0))
    assert 0 < near < far


def test_scale_and_sigma_are_settings() -> None:
    x, y = embeddings(4, 20), embeddings(5, 20, shift=1.0)
    plain = PROTOCOL.model_copy(update={"cmmd": PROTOCOL.cmmd.model_copy(update={"scale": 1.0})})
    assert cmmd_score(plain, x, y).value == pytest.approx(published(x, y) / 1000, rel=1e-9)
    narrow = gaussian_kernel(x.double(), y.double(), sigma=0.5)
    assert narrow.max() < gaussian_kernel(x.double(), y.double()).min()
