"""Frechet distance between two sets of pictures as Gaussians in a feature space.

The state is n, the sum of features and the sum of their outer products in float64: additive, so sets can be
cut into parts and merged. The features are kept too (8 KB a picture): with fewer pictures than features the
covariances are singular and the distance is taken from the features themselves, and the interval resamples
them.

Sources: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500, equation 6;
    Dowson and Landau 1982, The Frechet Distance between Multivariate Normal Distributions.

Letters: N pictures of one set, D features.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.features import InceptionFeatures
from eval.metrics.score import Score, check_pair
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig, WeightsRecord


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
        """features (N, D), any float -> their moments."""
        x = features.double()
        return cls(len(x), x.sum(dim=0), x.T @ x)

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
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), by symmetric eigenvalue problems in float64.

    The trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric and so needs no general
    matrix square root.
    """
    covariance_a, covariance_b = a.covariance, b.covariance
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    product = root @ covariance_b @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0.0).sqrt().sum()
    spread = covariance_a.trace() + covariance_b.trace() - 2.0 * cross
    return max(0.0, float((a.mean - b.mean).square().sum() + spread))


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


class FrechetInceptionDistance:
    """FID between the real and the fake pictures seen.

    Args:
        protocol: its settings of FID and of the interval.
        extract: uint8 (B, 3, H, W) -> features (B, D) on the CPU.
        weights: the files that ``extract`` reads.
        paired: fake pictures are reconstructions of the real ones (rFID), so a resample takes both or
            neither.
    """

    higher_is_better = False

    def __init__(
        self,
        protocol: EvaluationProtocol,
        extract: Callable[[Tensor], Tensor],
        weights: tuple[WeightsRecord, ...],
        *,
        paired: bool,
    ) -> None:
        self.protocol = protocol
        self.extract = extract
        self.weights = weights
        self.paired = paired
        self._real = _Features()
        self._fake = _Features()

    def update(self, real: Tensor, fake: Tensor) -> None:
        """Add pairs: uint8 (B, 3, H, W) both."""
        check_pair(real, fake)
        self.update_real(real)
        self.update_fake(fake)

    def update_real(self, pictures: Tensor) -> None:
        """Add reference pictures alone: uint8 (B, 3, H, W)."""
        self._real.add(self.extract(pictures))

    def update_fake(self, pictures: Tensor) -> None:
        """Add made pictures alone: uint8 (B, 3, H, W)."""
        self._fake.add(self.extract(pictures))

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._real.merge(other._real)
        self._fake.merge(other._fake)

    @property
    def moments(self) -> tuple[Moments, Moments]:
        """(real, fake)."""
        return self._real.moments, self._fake.moments

    def compute(self) -> Score:
        """The distance. The interval is the value +- 1.96 standard deviations of the bootstrap.

        Resampling lowers the number of distinct pictures and so raises FID: the resamples' own percentiles
        would not even hold the value.

        Raises:
            NotComputedError: with fewer than two pictures on a side there is no covariance.
        """
        real, fake = self._real, self._fake
        if min(real.n, fake.n) < 2:
            raise NotComputedError("at least 2 pictures on each side for a covariance", "give more pictures")
        few = min(real.n, fake.n) <= real.dim
        value = frechet_distance_of_few(real.all, fake.all) if few else frechet_distance(*self.moments)
        spread = self._bootstrap_std(few)
        details: dict[str, float | int | str] = {
            "num_real": real.n,
            "num_fake": fake.n,
            "num_features": real.dim,
            "interval": "value +- 1.96 std of a bootstrap",
        }
        if few:
            details["warning"] = (
                f"fewer pictures than the {real.dim} features: biased upwards, compare only at equal numbers"
            )
        low = max(0.0, value - 1.96 * spread)
        return Score(value, (low, value + 1.96 * spread), fake.n, details)

    def _bootstrap_std(self, few: bool) -> float:
        real, fake = self._real.all, self._fake.all
        generator = torch.Generator().manual_seed(self.protocol.interval.seed)
        distances = []
        for _ in range(self.protocol.interval.fid_resamples):
            rows = torch.randint(len(fake), (len(fake),), generator=generator)
            other = rows if self.paired else torch.randint(len(real), (len(real),), generator=generator)
            x, y = real[other], fake[rows]
            distances.append(
                frechet_distance_of_few(x, y) if few else frechet_distance(Moments.of(x), Moments.of(y))
            )
        return float(torch.tensor(distances, dtype=torch.float64).std())


class _Features:
    """The features of one side, as they came, float32."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._moments: Moments | None = None

    @property
    def n(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def dim(self) -> int:
        return self._parts[0].shape[1]

    @property
    def all(self) -> Tensor:
        self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    @property
    def moments(self) -> Moments:
        if self._moments is None:
            raise ValueError("no pictures were given to this metric")
        return self._moments

    def add(self, features: Tensor) -> None:
        self._parts.append(features)
        self._accumulate(Moments.of(features))

    def merge(self, other: "_Features") -> None:
        self._parts += other._parts
        if other._moments is not None:
            self._accumulate(other._moments)

    def _accumulate(self, moments: Moments) -> None:
        self._moments = moments if self._moments is None else self._moments + moments


def load_fid(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device, *, paired: bool
) -> FrechetInceptionDistance:
    """FID over the network that defines it.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    extract = InceptionFeatures.load(weights, device)
    return FrechetInceptionDistance(protocol, extract, (extract.record,), paired=paired)
