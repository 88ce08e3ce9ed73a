"""No bottleneck: the latent is the encoder's output (DC-AE)."""

from typing import Literal

from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, refuse_indices, zero_loss
from tokenizer.core.config import Config


class Identity(nn.Module):
    """z = h, deterministic. Source: Chen et al. 2024, Deep Compression Autoencoder, arXiv 2410.10733."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.input_channels = latent_channels
        self.noise_channels = 0
        self.codes: Codes | None = None

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same; there is nothing to sample."""
        return BottleneckOutput(z=h, loss=zero_loss(h))

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Always an error: this latent is continuous."""
        refuse_indices()


class IdentityConfig(Config):
    """No bottleneck, a deterministic autoencoder (DC-AE, arXiv 2410.10733)."""

    kind: Literal["identity"] = "identity"

    def build(self, latent_channels: int) -> Identity:
        """The module."""
        return Identity(latent_channels)
