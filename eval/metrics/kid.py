"""Kernel Inception distance: the squared maximum mean discrepancy under a polynomial kernel, unbiased at any number.

Source: Binkowski et al. 2018, Demystifying MMD GANs, arXiv 1801.01401, section 4 (kernel (x.y / D + 1)^3).

Letters: N and M pictures, D features, G blocks.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig

BLOCKS = 20
ROWS_OF_THE_SPREAD = 10_000


def polynomial_kernel(x: Tensor, y: Tensor, *, degree: int = 3, coefficient: float = 1.0) -> Tensor:
    """(N, D), (M, D) float64 -> (N, M): (x.y / D + coefficient)^degree."""
    return (x @ y.T / x.shape[1] + coefficient) ** degree


def squared_mmd(x: Tensor, y: Tensor, *, degree: int = 3, coefficient: float = 1.0) -> float:
    """The unbiased estimate from all pairs of x (N, D) and y (M, D); it may be below 0."""
    x, y = x.double(), y.double()
    own_x = polynomial_kernel(x, x, degree=degree, coefficient=coefficient)
    own_y = polynomial_kernel(y, y, degree=degree, coefficient=coefficient)
    cross = polynomial_kernel(x, y, degree=degree, coefficient=coefficient)
    n, m = len(x), len(y)
    return float(
        (own_x.sum() - own_x.trace()) / (n * (n - 1))
        + (own_y.sum() - own_y.trace()) / (m * (m - 1))
        - 2.0 * cross.mean()
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
    """Standard error of the estimate from all pairs, by leaving out one of G blocks of both sets at a time.

    One pass over the kernel gives the sums between blocks, and from those every estimate without a block. Beyond
    10,000 rows an even choice of them stands for all, and the variance is scaled down.
    Source: Efron 1979, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7(1).
    """
    rows = min(len(x), len(y))
    blocks = min(BLOCKS, rows // 2)
    if blocks < 2:
        return float("nan")
    kept_x, kept_y = (table[_evenly(len(table))].double().chunk(blocks) for table in (x, y))
    blocks = min(len(kept_x), len(kept_y))
    own_x, own_y, cross = (torch.zeros(blocks, blocks, dtype=torch.float64) for _ in range(3))
    for i in range(blocks):
        for j in range(blocks):
            for sums, first, second, own in (
                (own_x, kept_x, kept_x, True),
                (own_y, kept_y, kept_y, True),
                (cross, kept_x, kept_y, False),
            ):
                kernel = polynomial_kernel(first[i], second[j], degree=degree, coefficient=coefficient)
                sums[i, j] = kernel.sum() - (kernel.trace() if own and i == j else 0.0)
    sizes_x = torch.tensor([len(part) for part in kept_x[:blocks]], dtype=torch.float64)
    sizes_y = torch.tensor([len(part) for part in kept_y[:blocks]], dtype=torch.float64)
    estimates = []
    for out in range(blocks):
        keep = [block for block in range(blocks) if block != out]
        n, m = sizes_x[keep].sum(), sizes_y[keep].sum()
        inside = own_x[keep][:, keep].sum() / (n * (n - 1)) + own_y[keep][:, keep].sum() / (m * (m - 1))
        estimates.append(inside - 2.0 * cross[keep][:, keep].sum() / (n * m))
    spread = torch.stack(estimates).std(correction=0) * (blocks - 1) ** 0.5
    return float(spread * (min(rows, ROWS_OF_THE_SPREAD) / rows) ** 0.5)


def _evenly(count: int) -> Tensor:
    kept = min(count, ROWS_OF_THE_SPREAD)
    return torch.arange(kept) * count // kept


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
        "interval": f"value +- 1.96 standard errors by the jackknife over {BLOCKS} blocks",
    }
    return Score(value, around(value, spread), len(fake), details)


def load_kid(protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device) -> SetComparison:
    """KID over the FID Inception network.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    return load_comparison(protocol, weights, device, partial(kid_score, protocol))
