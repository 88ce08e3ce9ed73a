"""No bottleneck: the latent is the encoder's output (DC-AE)."""

from typing import Literal

from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, zero_loss
from tokenizer.core.config import Config


class Identity(nn.Module):
    """z = h, deterministic. Source: Chen et al. 2024, Deep Compression Autoencoder, arXiv 2410.10733."""

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same; there is nothing to sample."""
        return BottleneckOutput(z=h, loss=zero_loss(h))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Always an error: this latent is continuous."""
        raise ValueError("this tokenizer's latent is continuous; it has no indices to decode")

    def input_channels(self, latent_channels: int) -> int:
        """As many channels as the latent."""
        return latent_channels


class IdentityConfig(Config):
    """No bottleneck, a deterministic autoencoder (DC-AE, arXiv 2410.10733)."""

    kind: Literal["identity"] = "identity"

    def build(self) -> Identity:
        """The module."""
        return Identity()
