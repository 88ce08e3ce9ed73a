"""What the values of a latent look like over a set of pictures, in the tokenizer's own scale.

Letters: B pictures, C latent channels, S the latent's grid.
"""

from dataclasses import dataclass

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


class LatentMoments:
    """Sums of powers of each channel in float64, additive over batches.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sums = torch.zeros(4, channels, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Count z (B, C, *S), raw scale."""
        values = z.detach().cpu().double().transpose(0, 1).flatten(1)  # (C, B * S)
        self.count += values.shape[1]
        self._sums += torch.stack([values.pow(power).sum(dim=1) for power in (1, 2, 3, 4)])

    def compute(self) -> LatentStatistics:
        """The statistics; ValueError if nothing was counted."""
        if self.count == 0:
            raise ValueError("no latents were counted")
        m1, m2, m3, m4 = self._sums / self.count
        variance = (m2 - m1.square()).clamp_min(0.0)
        fourth = m4 - 4 * m1 * m3 + 6 * m1.square() * m2 - 3 * m1.pow(4)
        typical = float(variance.mean())
        live = variance >= DEAD**2 * typical if typical > 0 else torch.zeros_like(variance, dtype=torch.bool)
        kurtosis = fourth[live] / variance[live].square()
        divergence = (m1.square() + variance - 1.0 - variance.clamp_min(TINY).log()) / 2.0
        return LatentStatistics(
            mean=float(m1.mean()),
            rms=float(m2.mean().sqrt()),
            kurtosis=float(kurtosis.mean()) if bool(live.any()) else 0.0,
            prior_gap=float(divergence.mean()),
            dead=1.0 - float(live.double().mean()),
        )
