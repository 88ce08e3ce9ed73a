"""The Frechet distance between two Gaussians, or between the Gaussians of two sets, in float64.

Nothing here takes the general square root of a product: scipy's is several times slower, loses digits where a
covariance is singular, and its ``disp`` argument is going away.

Sources: Dowson and Landau 1982, The Frechet Distance between Multivariate Normal Distributions; Heusel et al.
    2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500, equation 6.

Letters: N and M rows, D columns (features).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums of a set of features; ``a + b`` is the moments of the union.

    Attributes:
        n: how many.
        total: (D,) float64, the sum.
        outer: (D, D) float64, the sum of outer products.
    """

    n: int
    total: Tensor
    outer: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """features (N, D), any float -> their moments, summed in float64."""
        width = features.shape[1]
        total = torch.zeros(width, dtype=torch.float64)
        outer = torch.zeros(width, width, dtype=torch.float64)
        for part in torch.split(features, CHUNK):
            x = part.double()
            total += x.sum(dim=0)
            outer.addmm_(x.T, x)
        return cls(len(features), total, outer)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.total / self.n

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased; needs two samples."""
        return (self.outer - torch.outer(self.total, self.total) / self.n) / (self.n - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two sets by their moments."""
    return frechet_distance_of_gaussians(a.mean, a.covariance, b.mean, b.covariance)


def frechet_distance_of_gaussians(mean_a: Tensor, a: Tensor, mean_b: Tensor, b: Tensor) -> float:
    """The same from means (D,) and covariances (D, D), float64.

    For any A = R R^T the trace of (A B)^(1/2) is that of (R^T B R)^(1/2), which is symmetric, so that
    ``eigvalsh`` does. R is the Cholesky factor where A is positive definite and the symmetric root where it
    is singular.
    """
    root, info = torch.linalg.cholesky_ex(a)
    if info.item():
        values, vectors = torch.linalg.eigh(a)
        root = vectors * values.clamp(min=0.0).sqrt()
    product = root.T @ b @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0.0).sqrt().sum()
    spread = a.trace() + b.trace() - 2.0 * cross
    return max(0.0, float((mean_a - mean_b).square().sum() + spread))


def frechet_distance_of_few(x: Tensor, y: Tensor) -> float:
    """The same for features x (N, D) and y (M, D) with fewer samples than features.

    With A = X^T X and B = Y^T Y of the centred features, tr (A B)^(1/2) is the sum of the singular values of
    X Y^T.
    """
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    x = (x - mean_x) / math.sqrt(len(x) - 1)
    y = (y - mean_y) / math.sqrt(len(y) - 1)
    cross = torch.linalg.svdvals(x @ y.T).sum()
    spread = x.square().sum() + y.square().sum() - 2.0 * cross
    return max(0.0, float((mean_x - mean_y).square().sum() + spread))


def frechet_distance_of_sets(x: Tensor, y: Tensor) -> float:
    """Between features x (N, D) and y (M, D), by singular values where a covariance must be singular."""
    if is_few(x, y):
        return frechet_distance_of_few(x, y)
    return frechet_distance(Moments.of(x), Moments.of(y))


def is_few(x: Tensor, y: Tensor) -> bool:
    """Whether a set has no more rows than columns, so that its covariance is singular."""
    return min(len(x), len(y)) <= x.shape[1]
