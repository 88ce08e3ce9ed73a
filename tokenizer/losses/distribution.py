"""Distances between the distribution of latents and the standard normal, estimated from samples of both.

Both act on the bottleneck's z in its raw scale. The prior's samples and the directions come from the samples'
keys, so a batch has the same loss whenever it is seen; it is that of the pictures of one process.

Letters: B batch, C latent channels, S the latent's grid, P = |S| positions, N latent samples, D their size,
K directions.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import seeding
from tokenizer.layers.precision import full_precision
from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput

Unit = Literal["position", "picture"]
Kernel = Callable[[Tensor], Tensor]


def latent_samples(step: StepOutput, unit: Unit, max_samples: int) -> tuple[Tensor, Tensor]:
    """Samples of the latents and as many of the standard normal, both (N, D) float32.

    ``unit`` says what a sample is: the C values of a position, or all values of a picture. Of more than
    ``max_samples`` positions, each picture gives as many, drawn without replacement.

    Raises:
        ValueError: if the pass has no sample keys.
    """
    if step.keys is None:
        raise ValueError("the distribution of latents is a training loss: this pass has no sample keys")
    z = step.bottleneck.z.float()
    rows = z.flatten(1).unsqueeze(1) if unit == "picture" else z.flatten(2).transpose(1, 2)  # (B, P or 1, D)
    count = min(rows.shape[1], max(1, math.ceil(max_samples / rows.shape[0])))
    if count < rows.shape[1]:
        order = seeding.normal((rows.shape[1],), step.keys, "latent positions").argsort(dim=1)[:, :count]
        rows = torch.take_along_dim(rows, order.to(rows.device).unsqueeze(-1), dim=1)
    prior = seeding.normal(rows.shape[1:], step.keys, "prior").to(rows.device)
    return rows.flatten(0, 1), prior.flatten(0, 1)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M), never below 0."""
    products = x @ y.T
    return (x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)[None] - 2.0 * products).clamp_min(0.0)


def mixture(name: Literal["imq", "rbf"], size: int, scales: Sequence[float]) -> Kernel:
    """Mean over ``scales`` of kernels of a squared distance d, each 1 at d = 0.

    With c = 2 * size * scale, about the squared distance of two prior samples times the scale: c / (c + d) for
    the inverse multiquadratic "imq", exp(-d / c) for the Gaussian "rbf".
    """
    constants = [2.0 * size * scale for scale in scales]

    def kernel(d: Tensor) -> Tensor:
        total = torch.zeros_like(d)
        for c in constants:
            total = total + (c / (c + d) if name == "imq" else torch.exp(-d / c))
        return total / len(constants)

    return kernel


def squared_mmd(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """The squared maximum mean discrepancy of samples (N, D) and (M, D), as a V-statistic: never below 0.

    Source: Gretton et al. 2012, A Kernel Two-Sample Test, JMLR 13, equation 5.
    """
    within = kernel(squared_distances(x, x)).mean() + kernel(squared_distances(y, y)).mean()
    return within - 2.0 * kernel(squared_distances(x, y)).mean()


def squared_sliced_wasserstein(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """Mean over directions (K, D) of the squared 2-Wasserstein distance of the projections of (N, D) and (N, D).

    For a shift by s it is mean((directions @ s)^2): for even directions, |s|^2 / D.
    """
    theta = F.normalize(directions, dim=1)
    gaps = (x @ theta.T).sort(dim=0).values - (y @ theta.T).sort(dim=0).values
    return gaps.square().mean()


class MMD(nn.Module):
    """The squared maximum mean discrepancy of latents and prior.

    Args:
        kernel: "imq" (heavy tails: far latents still feel the prior) or "rbf".
        scales: of the kernels, relative to the prior's own spread.
        unit: what a sample is.
        max_samples: of a batch, about; the kernels are squares of it.

    Source: Tolstikhin et al. 2018, Wasserstein Auto-Encoders, arXiv 1711.01558, algorithm 2 (WAE-MMD; theirs is
    the U-statistic and sums over scales, where this is the V-statistic and the mean); Zhao et al. 2017, InfoVAE,
    arXiv 1706.02262 (MMD beside a KL term).
    """

    def __init__(
        self, kernel: Literal["imq", "rbf"], scales: Sequence[float], unit: Unit, max_samples: int
    ) -> None:
        super().__init__()
        self.kernel: Literal["imq", "rbf"] = kernel
        self.scales = tuple(scales)
        self.unit: Unit = unit
        self.max_samples = max_samples

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0."""
        with full_precision(step.z.device):
            latents, prior = latent_samples(step, self.unit, self.max_samples)
            return squared_mmd(latents, prior, mixture(self.kernel, latents.shape[1], self.scales))


class SlicedWasserstein(nn.Module):
    """The squared sliced 2-Wasserstein distance of latents and prior, over random directions.

    Args:
        directions: of each picture; a batch uses those of all its pictures.
        unit: what a sample is.
        max_samples: of a batch, about.

    Source: Kolouri et al. 2018, Sliced-Wasserstein Autoencoder, arXiv 1804.01947, section 3.
    """

    def __init__(self, directions: int, unit: Unit, max_samples: int) -> None:
        super().__init__()
        self.directions = directions
        self.unit: Unit = unit
        self.max_samples = max_samples

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0."""
        with full_precision(step.z.device):
            latents, prior = latent_samples(step, self.unit, self.max_samples)
            assert step.keys is not None  # latent_samples has looked
            drawn = seeding.normal((self.directions, latents.shape[1]), step.keys, "directions")
            return squared_sliced_wasserstein(latents, prior, drawn.flatten(0, 1).to(latents.device))


class MMDConfig(WeightedConfig):
    """Maximum mean discrepancy of latents and prior (WAE, arXiv 1711.01558; InfoVAE, arXiv 1706.02262)."""

    kind: Literal["mmd"] = "mmd"
    kernel: Literal["imq", "rbf"] = "imq"
    scales: tuple[float, ...] = Field((0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), min_length=1)
    unit: Unit = Field(
        "position", description="what a sample is: a position's channels, or a whole picture's"
    )
    max_samples: int = Field(512, ge=2, description="of a batch, about; the kernels are squares of it")

    def build(self) -> MMD:
        """The loss.

        Raises:
            ValueError: if a scale is not positive.
        """
        if min(self.scales) <= 0:
            raise ValueError(f"scales must be positive, got {list(self.scales)}")
        return MMD(self.kernel, self.scales, self.unit, self.max_samples)


class SlicedWassersteinConfig(WeightedConfig):
    """Sliced Wasserstein distance of latents and prior (SWAE, arXiv 1804.01947)."""

    kind: Literal["sliced_wasserstein"] = "sliced_wasserstein"
    directions: int = Field(8, ge=1, description="random directions that each picture adds")
    unit: Unit = Field(
        "position", description="what a sample is: a position's channels, or a whole picture's"
    )
    max_samples: int = Field(8192, ge=2)

    def build(self) -> SlicedWasserstein:
        """The loss."""
        return SlicedWasserstein(self.directions, self.unit, self.max_samples)
