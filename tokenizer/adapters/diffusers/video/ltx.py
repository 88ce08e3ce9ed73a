"""diffusers' AutoencoderKLLTXVideo: whole clips.

Its encoder is causal, its decoder by default looks both ways in time, and neither remembers frames. A decoder that is
conditioned on a time of diffusion is asked for time 0 without added noise, as their pipelines do where nobody asks for
more.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from typing import Any

from torch import Tensor, nn

from tokenizer.bottlenecks.kl import KL
from tokenizer.layers.causal import Cache

NAME = "AutoencoderKLLTXVideo"


class Encoder(nn.Module):
    """x (B, 3, T, H, W) -> moments of the latent (B, 2C, T', H', W')."""

    def __init__(self, module: Any) -> None:  # their class is not typed
        super().__init__()
        self.network = module.encoder

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """A whole clip."""
        h: Tensor = self.network(x)
        return h


class Decoder(nn.Module):
    """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W)."""

    def __init__(self, module: Any) -> None:  # as above
        super().__init__()
        self.network = module.decoder
        self.timed: bool = module.config.timestep_conditioning

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """The latents of a whole clip."""
        x_hat: Tensor = self.network(z, z.new_zeros(z.shape[0]) if self.timed else None)
        return x_hat


def parts(module: Any, factor: int) -> tuple[nn.Module, KL, nn.Module]:  # as above
    """Encoder, bottleneck and decoder that share the layers of a module of theirs."""
    return Encoder(module), KL(module.config.latent_channels), Decoder(module)
