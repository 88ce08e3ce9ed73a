"""Frechet distance at infinitely many pictures: the bias falls as 1/N, so a line through growing subsets tells it.

Source: Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score and Where to Find Them, arXiv
1911.07023, section 4.

Letters: N and M pictures, D features, P points of the line.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.frechet import frechet_distance_of_sets
from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig


def intercept(sizes: np.ndarray, distances: np.ndarray) -> tuple[float, float]:
    """Value at 1/size = 0 of the least-squares line through P points, and its standard error."""
    x = 1.0 / np.asarray(sizes, dtype=np.float64)
    y = np.asarray(distances, dtype=np.float64)
    slope, value = np.polyfit(x, y, 1)
    residuals = y - (slope * x + value)
    centred = np.square(x - x.mean()).sum()
    variance = np.square(residuals).sum() / (len(x) - 2)
    return float(value), float(np.sqrt(variance * (1.0 / len(x) + x.mean() ** 2 / centred)))


def fd_infinity_score(protocol: EvaluationProtocol, real: Tensor, fake: Tensor) -> Score:
    """The extrapolated distance of growing random subsets of ``fake`` (M, D) to all of ``real`` (N, D).

    Raises:
        NotComputedError: with fewer pictures than the line needs.
    """
    settings = protocol.fd_infinity
    if len(fake) < 2 * settings.smallest:
        raise NotComputedError(
            f"at least {2 * settings.smallest} pictures for a line from {settings.smallest} on",
            f"give more than these {len(fake)}",
        )
    generator = torch.Generator().manual_seed(settings.seed)
    sizes = np.linspace(settings.smallest, len(fake), settings.points).astype(int)
    distances = [
        frechet_distance_of_sets(real, fake[torch.randperm(len(fake), generator=generator)[:size]])
        for size in sizes
    ]
    value, error = intercept(sizes, np.asarray(distances))
    details: dict[str, float | int | str] = {
        "num_real": len(real),
        "num_fake": len(fake),
        "points": settings.points,
        "at_all_pictures": distances[-1],
        "interval": "value +- 1.96 standard errors of the intercept",
    }
    return Score(value, around(value, error), len(fake), details)


def load_fd_infinity(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device
) -> SetComparison:
    """FD-infinity over the FID Inception network.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    return load_comparison(protocol, weights, device, partial(fd_infinity_score, protocol))
