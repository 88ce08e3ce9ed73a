"""Improved precision and recall: how many made pictures lie among the real ones, and how many real among the made.

Source: Kynkaanniemi et al. 2019, Improved Precision and Recall Metric for Assessing Generative Models, arXiv
1904.06991, equations 1 and 2.

Letters: N and M rows, D features.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.metrics.score import Score, mean_score
from eval.metrics.sets import SetComparison, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig

Which = Literal["precision", "recall"]
CHUNK = 2048


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M) float64, by one product; what rounding leaves of equal rows is 0."""
    x, y = x.double(), y.double()
    squares = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1)
    distances = squares - 2.0 * (x @ y.T)
    return distances.where(distances > 1e-12 * squares, 0.0)


def radii(features: Tensor, neighbours: int = 3) -> Tensor:
    """Squared distance of each row (N, D) to its k-th nearest other row: (N,)."""
    parts = [
        squared_distances(part, features).kthvalue(neighbours + 1, dim=1).values
        for part in torch.split(features, CHUNK)
    ]
    return torch.cat(parts)


def inside(points: Tensor, features: Tensor, reach: Tensor) -> Tensor:
    """Whether each of the points (M, D) lies in the ball of any row of features (N, D), squared radii (N,): (M,)."""
    parts = [(squared_distances(part, features) <= reach).any(dim=1) for part in torch.split(points, CHUNK)]
    return torch.cat(parts)


def precision_recall_score(
    protocol: EvaluationProtocol, real: Tensor, fake: Tensor, *, which: Which
) -> Score:
    """The share of ``fake`` inside the manifold of ``real`` (precision), or the other way round (recall).

    The interval is a bootstrap over the points with the manifold held fixed.

    Raises:
        NotComputedError: with no more pictures than neighbours.
    """
    neighbours = protocol.precision_recall.neighbours
    points, features = (fake, real) if which == "precision" else (real, fake)
    if len(features) <= neighbours:
        raise NotComputedError(f"more than {neighbours} pictures on each side", "give more pictures")
    hits = inside(points, features, radii(features, neighbours)).double().tolist()
    interval = protocol.interval
    score = mean_score(hits, resamples=interval.resamples, seed=interval.seed)
    details: dict[str, float | int | str] = {
        "num_real": len(real),
        "num_fake": len(fake),
        "neighbours": neighbours,
        "features": "Inception, pooled",
    }
    return Score(score.value, score.ci95, len(fake), details)


def load_precision_recall(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device, *, which: Which
) -> SetComparison:
    """One of the two over the FID Inception network.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    score = partial(precision_recall_score, protocol, which=which)
    return load_comparison(protocol, weights, device, score, higher_is_better=True)
