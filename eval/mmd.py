"""The squared maximum mean discrepancy of two sets under a kernel, and its standard error.

Sources: Gretton et al. 2012, A Kernel Two-Sample Test, JMLR 13, equations 3 (unbiased) and 5 (biased); Efron 1979,
    Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7(1).

Letters: N and M rows, D features, G blocks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""(N, D), (M, D) float64 -> (N, M)."""

BLOCKS = 20
ROWS_OF_THE_SPREAD = 10_000
CHUNK = 512


def squared_mmd(x: Tensor, y: Tensor, kernel: Kernel, *, unbiased: bool) -> float:
    """The estimate from all pairs of x (N, D) and y (M, D).

    Unbiased leaves out the pairs of a row with itself, and may be below 0; biased counts them and is never.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    own = [_sum(side, side, kernel) - (_self_sum(side, kernel) if unbiased else 0.0) for side in (x, y)]
    less = 1 if unbiased else 0
    return own[0] / (n * (n - less)) + own[1] / (m * (m - less)) - 2.0 * _sum(x, y, kernel) / (n * m)


def jackknife_std(x: Tensor, y: Tensor, kernel: Kernel, *, unbiased: bool) -> float:
    """Standard error of the estimate from all pairs, by leaving out one of G blocks of both sets at a time.

    One pass over the kernel gives the sums between blocks, and from those every estimate without a block. Beyond
    10,000 rows an even choice of them stands for all, and the variance is scaled down. NaN for fewer than 4 rows.
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
                values = kernel(first[i], second[j])
                sums[i, j] = values.sum() - (values.trace() if own and unbiased and i == j else 0.0)
    sizes_x = torch.tensor([len(part) for part in kept_x[:blocks]], dtype=torch.float64)
    sizes_y = torch.tensor([len(part) for part in kept_y[:blocks]], dtype=torch.float64)
    less = 1.0 if unbiased else 0.0
    estimates = []
    for out in range(blocks):
        keep = [block for block in range(blocks) if block != out]
        n, m = sizes_x[keep].sum(), sizes_y[keep].sum()
        inside = own_x[keep][:, keep].sum() / (n * (n - less)) + own_y[keep][:, keep].sum() / (m * (m - less))
        estimates.append(inside - 2.0 * cross[keep][:, keep].sum() / (n * m))
    spread = torch.stack(estimates).std(correction=0) * (blocks - 1) ** 0.5
    return float(spread * (min(rows, ROWS_OF_THE_SPREAD) / rows) ** 0.5)


def _sum(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    return float(torch.stack([kernel(part, y).sum() for part in torch.split(x, CHUNK)]).sum())


def _self_sum(x: Tensor, kernel: Kernel) -> float:
    return float(sum(kernel(part, part).trace() for part in torch.split(x, CHUNK)))


def _evenly(count: int) -> Tensor:
    kept = min(count, ROWS_OF_THE_SPREAD)
    return torch.arange(kept) * count // kept
