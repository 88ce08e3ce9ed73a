"""What the values of a latent look like over a set of pictures, in the scale they are given in.

Letters: B pictures, C latent channels, S the latent's grid, N values of a channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

DEAD = 0.01
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class LatentStatistics:
    """Over all pictures and positions.

    Attributes:
        mean: of all values.
        rms: root of the mean square of all values.
        kurtosis: fourth central moment over the squared variance of a channel, mean over the channels that live;
            3 for a normal distribution.
        prior_gap: KL divergence in nats of a normal distribution with a channel's mean and variance from the
            standard normal, mean over channels; 0 where generators find the prior that they begin with.
        dead: share of channels whose standard deviation is below 1 % of the channels' root mean square of it.
    """

    mean: float
    rms: float
    kurtosis: float
    prior_gap: float
    dead: float


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Of each channel, (C,) float64 each.

    Attributes:
        mean, std: over all pictures and positions.
        kurtosis: 3 for a normal distribution; 0 for a channel that never moves.
        low, high: smallest and largest value.
        prior_gap: KL divergence in nats of N(mean, std^2) from the standard normal.
    """

    mean: Tensor
    std: Tensor
    kurtosis: Tensor
    low: Tensor
    high: Tensor
    prior_gap: Tensor

    @property
    def peak(self) -> Tensor:
        """How many of its standard deviations the farthest value of each channel lies from its mean."""
        far = torch.maximum(self.high - self.mean, self.mean - self.low)
        return torch.where(self.std > 0, far / self.std.clamp_min(TINY), torch.zeros_like(far))


@dataclass(frozen=True, slots=True)
class ChannelRank:
    """How many directions the channels really use.

    Attributes:
        entropy: exp of the entropy of the eigenvalues' shares: as many equally strong directions would be as spread.
        participation: square of the eigenvalues' sum over the sum of their squares; never above ``entropy``.
        eigenvalues: of the channels' covariance, falling, (C,) float64.

    Source: Roy and Vetterli 2007, The Effective Rank: A Measure of Effective Dimensionality, EUSIPCO, equation 3
    (there of singular values, here of the covariance).
    """

    entropy: float
    participation: float
    eigenvalues: Tensor


class LatentMoments:
    """Sums of powers and of products of channels in float64, additive over batches and shards.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sums = torch.zeros(4, channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64)
        self._low = torch.full((channels,), torch.inf, dtype=torch.float64)
        self._high = torch.full((channels,), -torch.inf, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Count z (B, C, *S)."""
        values = z.detach().cpu().double().transpose(0, 1).flatten(1)  # (C, B * S)
        self.count += values.shape[1]
        self._sums += torch.stack([values.pow(power).sum(dim=1) for power in (1, 2, 3, 4)])
        self._products += values @ values.T
        self._low = torch.minimum(self._low, values.amin(dim=1))
        self._high = torch.maximum(self._high, values.amax(dim=1))

    def merge(self, other: Self) -> None:
        """Add what ``other`` counted."""
        self.add_state(other.state())

    def state(self) -> dict[str, Tensor]:
        """All of it, float64 and int64."""
        return {
            "count": torch.tensor(self.count),
            "sums": self._sums.clone(),
            "products": self._products.clone(),
            "low": self._low.clone(),
            "high": self._high.clone(),
        }

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        """Add what ``state`` was taken from."""
        self.count += int(state["count"])
        self._sums += state["sums"]
        self._products += state["products"]
        self._low = torch.minimum(self._low, state["low"])
        self._high = torch.maximum(self._high, state["high"])

    def compute(self) -> LatentStatistics:
        """The statistics; ValueError if nothing was counted."""
        m1, m2, variance, fourth = self._central()
        typical = float(variance.mean())
        live = variance >= DEAD**2 * typical if typical > 0 else torch.zeros_like(variance, dtype=torch.bool)
        kurtosis = fourth[live] / variance[live].square()
        return LatentStatistics(
            mean=float(m1.mean()),
            rms=float(m2.mean().sqrt()),
            kurtosis=float(kurtosis.mean()) if bool(live.any()) else 0.0,
            prior_gap=float(_divergence(m1, variance).mean()),
            dead=1.0 - float(live.double().mean()),
        )

    def channels(self) -> ChannelStatistics:
        """Of each channel; ValueError if nothing was counted."""
        m1, _, variance, fourth = self._central()
        square = variance.square()
        return ChannelStatistics(
            mean=m1,
            std=variance.sqrt(),
            kurtosis=torch.where(
                square > TINY**2, fourth / square.clamp_min(TINY**2), torch.zeros_like(square)
            ),
            low=self._low,
            high=self._high,
            prior_gap=_divergence(m1, variance),
        )

    def rank(self) -> ChannelRank:
        """Of the channels' covariance; ValueError if nothing was counted, or no channel moves."""
        m1, _, variance, _ = self._central()
        covariance = self._products / self.count - torch.outer(m1, m1)
        values = torch.linalg.eigvalsh((covariance + covariance.T) / 2).flip(0).clamp_min(0.0)
        total = float(values.sum())
        if total <= TINY * max(1.0, float(m1.square().sum())) or float(variance.sum()) == 0.0:
            raise ValueError("no channel moves: the latents are the same everywhere")
        share = values / total
        return ChannelRank(
            entropy=float(torch.exp(-torch.special.xlogy(share, share).sum())),
            participation=float(1.0 / share.square().sum()),
            eigenvalues=values,
        )

    def _central(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, mean square, variance and fourth central moment of each channel."""
        if self.count == 0:
            raise ValueError("no latents were counted")
        m1, m2, m3, m4 = self._sums / self.count
        variance = (m2 - m1.square()).clamp_min(0.0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1.square() * m2 - 3 * m1.pow(4)
        return m1, m2, variance, fourth.clamp_min(0.0)


def _divergence(mean: Tensor, variance: Tensor) -> Tensor:
    return (mean.square() + variance - 1.0 - variance.clamp_min(TINY).log()) / 2.0
