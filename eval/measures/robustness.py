"""What a tokenizer makes of latents that are not quite its own: with noise, and encoded once more.

Letters: B pictures, C latent channels, R resolution.
"""

import math

import torch
from torch import Tensor

from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import to_uint8
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent


class NoisePSNR:
    """Mean PSNR of reconstructions from normalised latents with normal noise added, the same for every tokenizer of
    a shape.

    Args:
        strength: standard deviation of the noise; latents have about 1.

    Source: Zheng et al. 2025, Diffusion Transformers with Representation Autoencoders, arXiv 2510.11690 (generators
    give latents that are a little off, and decoders can be trained to forgive it).
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self._generator = torch.Generator().manual_seed(0)
        self._mse: list[float] = []

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        """Add uint8 pictures (B, 3, R, R) and their latent."""
        parts = {}
        for name, z in latent.parts.items():
            noise = torch.randn(z.shape, generator=self._generator)
            parts[name] = z + self.strength * noise.to(z)
        x_hat = tokenizer.decode(Latent(parts, latent.size, latent.spec_id))
        self._mse += mean_squared_error(real.cpu(), to_uint8(x_hat).cpu()).tolist()

    def compute(self) -> tuple[float]:
        """(PSNR in dB,); ValueError if no picture was given."""
        if not self._mse:
            raise ValueError("no pictures were given")
        return (float(decibels(torch.tensor(self._mse, dtype=torch.float64).clamp_min(1e-10)).mean()),)


class CycleError:
    """Norm of E(D(z)) - z over that of z, latents normalised: 0 if encoding a reconstruction again gives its latent.

    Source: Wu et al. 2025, H3AE: High Compression, High Speed, and High Quality AutoEncoder for Video Diffusion
    Models, arXiv 2504.10567 (latent consistency).
    """

    def __init__(self) -> None:
        self._difference = 0.0
        self._norm = 0.0

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        """Add a latent; its pictures are not needed."""
        again = tokenizer.encode(tokenizer.decode(latent).clamp(-1.0, 1.0))
        for name, z in latent.parts.items():
            self._difference += float((again.parts[name] - z).double().square().sum())
            self._norm += float(z.double().square().sum())

    def compute(self) -> tuple[float]:
        """(the ratio,); ValueError if no latent was given."""
        if self._norm == 0.0:
            raise ValueError("no latents were given")
        return (math.sqrt(self._difference / self._norm),)
