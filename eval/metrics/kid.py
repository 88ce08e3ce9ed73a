"""Kernel Inception distance: the squared maximum mean discrepancy under a polynomial kernel, unbiased at any number.

Source: Binkowski et al. 2018, Demystifying MMD GANs, arXiv 1801.01401, section 4 (kernel (x.y / D + 1)^3).

Letters: N and M pictures, D features.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval import mmd
from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig


def polynomial_kernel(x: Tensor, y: Tensor, *, degree: int = 3, coefficient: float = 1.0) -> Tensor:
    """(N, D), (M, D) float64 -> (N, M): (x.y / D + coefficient)^degree."""
    return (x @ y.T / x.shape[1] + coefficient) ** degree


def squared_mmd(x: Tensor, y: Tensor, *, degree: int = 3, coefficient: float = 1.0) -> float:
    """The unbiased estimate from all pairs of x (N, D) and y (M, D); it may be below 0."""
    return mmd.squared_mmd(
        x, y, partial(polynomial_kernel, degree=degree, coefficient=coefficient), unbiased=True
    )


def kid_of_subsets(
    x: Tensor, y: Tensor, *, subsets: int, size: int, seed: int, **kernel: float
) -> list[float]:
    """The estimate on random subsets of ``size`` of both, drawn without repetition as torch-fidelity draws them."""
    draw = np.random.RandomState(seed)
    degree, coefficient = int(kernel.get("degree", 3)), kernel.get("coefficient", 1.0)
    values = []
    for _ in range(subsets):
        rows_x = torch.from_numpy(draw.choice(len(x), size, replace=False))
        rows_y = torch.from_numpy(draw.choice(len(y), size, replace=False))
        values.append(squared_mmd(x[rows_x], y[rows_y], degree=degree, coefficient=coefficient))
    return values


def jackknife_std(x: Tensor, y: Tensor, *, degree: int = 3, coefficient: float = 1.0) -> float:
    """Standard error of the estimate from all pairs, see ``eval.mmd``."""
    kernel = partial(polynomial_kernel, degree=degree, coefficient=coefficient)
    return mmd.jackknife_std(x, y, kernel, unbiased=True)


def kid_score(protocol: EvaluationProtocol, real: Tensor, fake: Tensor) -> Score:
    """KID of features (N, D) and (M, D), times nothing (many tables print it times 1000)."""
    settings = protocol.kid
    size = min(settings.subset_size, len(real), len(fake))
    kernel = {"degree": settings.degree, "coefficient": settings.coefficient}
    whole = size == len(real) == len(fake)
    subsets = 1 if whole else settings.subsets
    values = kid_of_subsets(real, fake, subsets=subsets, size=size, seed=settings.seed, **kernel)
    value = float(np.mean(values))
    spread = jackknife_std(real, fake, degree=settings.degree, coefficient=settings.coefficient)
    details: dict[str, float | int | str] = {
        "num_real": len(real),
        "num_fake": len(fake),
        "subsets": subsets,
        "subset_size": size,
        "std_of_subsets": float(np.std(values)),
        "interval": f"value +- 1.96 standard errors by the jackknife over {mmd.BLOCKS} blocks",
    }
    return Score(value, around(value, spread), len(fake), details)


def load_kid(protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device) -> SetComparison:
    """KID over the FID Inception network.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    return load_comparison(protocol, weights, device, partial(kid_score, protocol))
