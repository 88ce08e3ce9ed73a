"""Every kind of denoiser. A new one is a file here, a member of the union, and a test."""

from diffusion.backbones.base import Denoiser, LatentShape
from diffusion.backbones.dit import DiTConfig

# A second member makes this Annotated[DiTConfig | ..., Field(discriminator="kind")]: pydantic takes no union
# of one.
DenoiserConfig = DiTConfig

__all__ = ["Denoiser", "DenoiserConfig", "LatentShape"]
