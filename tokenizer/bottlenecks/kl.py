"""A diagonal Gaussian posterior and its divergence from the standard normal.

Letters: B batch, C latent channels, S the latent's grid.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, refuse_indices
from tokenizer.core import distributed
from tokenizer.core.config import Config

Groups = Literal["channel", "position"]


@dataclass(frozen=True, slots=True)
class Posterior:
    """N(mean, exp(logvar)), value by value.

    Source: Kingma and Welling 2014, Auto-Encoding Variational Bayes, arXiv 1312.6114, appendix B.
    """

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_moments(cls, h: Tensor) -> "Posterior":
        """h (B, 2C, *S) -> mean and logvar (B, C, *S), logvar clamped to [-30, 20]."""
        mean, logvar = h.chunk(2, dim=1)
        return cls(mean, logvar.clamp(-30.0, 20.0))

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise; ``noise`` is standard normal of the same shape."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Divergence from N(0, 1) in nats, float32, value by value (B, C, *S)."""
        mean, logvar = self.mean.float(), self.logvar.float()
        return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar)


class KL(nn.Module):
    """Reads mean and logvar from h; the mode is the mean; the loss is the divergence in nats a value.

    Free bits: a group of latent values (a channel at all positions, or a position in all channels) costs its mean
    divergence over the batch, but never less than ``free_nats`` a value, so that no gradient empties it further.

    Args:
        latent_channels: C.
        free_nats: nats a value that are free; 0 for the plain divergence.
        free_groups: what a group is.

    Source: Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934,
    on free bits: lambda a group, of the divergence's mean over the minibatch (their groups are channels).
    """

    def __init__(self, latent_channels: int, free_nats: float = 0.0, free_groups: Groups = "channel") -> None:
        super().__init__()
        self.input_channels = 2 * latent_channels
        self.noise_channels = latent_channels
        self.codes: Codes | None = None
        self.free_nats = free_nats
        self.free_groups = free_groups

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, 2C, *S) -> z (B, C, *S)."""
        posterior = Posterior.from_moments(h)
        z = posterior.mean
        if sample:
            z = posterior.sample(torch.randn_like(z) if noise is None else noise.to(z))
        kl = posterior.kl()
        plain = kl.mean()
        loss = plain if self.free_nats == 0 else self._with_free_nats(kl)
        return BottleneckOutput(z=z, loss=loss, stats={"kl": plain.detach()})

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Always an error: this latent is continuous."""
        refuse_indices()

    def _with_free_nats(self, kl: Tensor) -> Tensor:
        """Divergences (B, C, *S) -> scalar, each group at least ``free_nats`` a value."""
        groups = (
            kl.movedim(1, -1).flatten(0, -2) if self.free_groups == "channel" else kl.mean(dim=1).flatten(1)
        )
        costs = groups.mean(dim=0)  # (C,) or (|S|,)
        if self.training:
            costs = distributed.mean(costs)
        return costs.clamp_min(self.free_nats).mean()


class KLConfig(Config):
    """Diagonal Gaussian posterior (VAE, arXiv 1312.6114; free bits, arXiv 1606.04934)."""

    kind: Literal["kl"] = "kl"
    free_nats: float = Field(0.0, ge=0, description="nats a value that cost nothing less (free bits)")
    free_groups: Groups = Field("channel", description="what shares its free nats, on average over a batch")

    def build(self, latent_channels: int) -> KL:
        """The module."""
        return KL(latent_channels, self.free_nats, self.free_groups)
