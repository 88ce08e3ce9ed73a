"""Noise on the latent while the decoder learns, so that it forgives latents that a generator made.

Letters: B batch, C latent channels, S' the latent's grid.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.regularizers.base import Draw, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class LatentNoise(Regularizer):
    """z + sigma n with sigma = |N(0, tau^2)|, one a sample.

    Args:
        tau: in units of the raw latent.

    Source: Zheng et al. 2025, Diffusion Transformers with Representation Autoencoders, arXiv 2510.11690,
    section 4.3 (noise-augmented decoding).
    """

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.tau = tau

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """z (B, C, *S') -> the same shape with noise; the pixels stay."""
        sigma = self.tau * seeding.normal((1,) * (z.ndim - 1), draw.keys, "latent noise scale").abs()
        noise = seeding.normal(z.shape[1:], draw.keys, "latent noise")
        return z + (sigma * noise).to(z), x


class LatentNoiseConfig(RegularizerSettings):
    """Noise of random strength on the latent (RAE, arXiv 2510.11690)."""

    kind: Literal["latent_noise"] = "latent_noise"
    tau: float = Field(default=0.8, gt=0, description="in units of the raw latent")

    def build(self, part: PartSpec) -> LatentNoise:
        """The regularizer."""
        return LatentNoise(self.tau)
