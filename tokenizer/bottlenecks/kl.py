"""A diagonal Gaussian posterior and its divergence from the standard normal.

Letters: B batch, C latent channels, S the latent's grid.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, refuse_indices
from tokenizer.core.config import Config


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
    """Reads mean and logvar from h; the mode is the mean; the loss is the divergence in nats a value."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.input_channels = 2 * latent_channels
        self.noise_channels = latent_channels
        self.codes: Codes | None = None

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, 2C, *S) -> z (B, C, *S)."""
        posterior = Posterior.from_moments(h)
        z = posterior.mean
        if sample:
            z = posterior.sample(torch.randn_like(z) if noise is None else noise.to(z))
        loss = posterior.kl().mean()
        return BottleneckOutput(z=z, loss=loss, stats={"kl": loss.detach()})

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Always an error: this latent is continuous."""
        refuse_indices()


class KLConfig(Config):
    """Diagonal Gaussian posterior (VAE, arXiv 1312.6114; latent diffusion, arXiv 2112.10752)."""

    kind: Literal["kl"] = "kl"

    def build(self, latent_channels: int) -> KL:
        """The module."""
        return KL(latent_channels)
