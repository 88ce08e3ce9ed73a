"""Binary latents: each channel is a coin whose probability the encoder gives.

Letters: B batch, C latent channels = bits at a position, S the latent's grid, Q codebooks.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core.config import Config
from tokenizer.layers.bits import bits_per_index, pack_bits, unpack_bits
from tokenizer.layers.entropy import bit_balance
from tokenizer.layers.estimators import straight_through
from tokenizer.layers.precision import full_precision


class Bernoulli(nn.Module):
    """z is 1 with probability p = sigmoid(h), else 0; the gradient goes straight through to p.

    A sample is 1 where Phi(noise) < p, Phi the normal distribution function; without sampling, z is 1 where
    p > 1/2. The loss is ``variance_weight * mean(p (1 - p))``, which asks for decided bits.

    Args:
        num_bits: C, the latent's channels.
        num_codebooks: Q, indices that the bits are written in.
        variance_weight: of the loss.

    Source: Wang et al. 2023, Binary Latent Diffusion, arXiv 2304.04820, section 3.1; the loss, off by default
    there too: the authors' public code.
    """

    unit: Tensor

    def __init__(self, num_bits: int, num_codebooks: int, variance_weight: float) -> None:
        super().__init__()
        self.input_channels = num_bits
        self.noise_channels = num_bits
        self.num_codebooks = num_codebooks
        self.codes: Codes | None = Codes(2 ** bits_per_index(num_bits, num_codebooks), num_codebooks)
        self.variance_weight = variance_weight
        self.register_buffer("unit", torch.ones(()), persistent=False)  # knows the dtype that z has

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) logits -> z of the same shape, 0 or 1; ``noise`` (B, C, *S) standard normal."""
        with full_precision(h.device):
            logits = h.float()
            p = torch.sigmoid(logits)
            if sample:
                noise = torch.randn_like(logits) if noise is None else noise.to(logits)
                bits = torch.special.ndtr(noise) < p
            else:
                bits = logits > 0
            variance = (p * (1.0 - p)).mean()
            stats = {"bit_variance": variance.detach(), "bit_balance": bit_balance(bits)}
            z = straight_through(p, bits.float()).to(h.dtype)
        indices = pack_bits(bits, self.num_codebooks)
        return BottleneckOutput(z, self.variance_weight * variance, indices, stats)

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """int64 (B, *S) or (B, Q, *S) -> z (B, C, *S)."""
        return unpack_bits(indices, self.input_channels, self.num_codebooks).to(self.unit.dtype)

    def encode_indices(self, z: Tensor) -> Tensor:
        """z (B, C, *S) in any precision -> indices."""
        return pack_bits(z > 0.5, self.num_codebooks)


class BernoulliConfig(Config):
    """Binary latents drawn from Bernoulli distributions (Binary Latent Diffusion, arXiv 2304.04820)."""

    kind: Literal["bernoulli"] = "bernoulli"
    num_codebooks: int = Field(1, ge=1, description="indices at a position, that the bits are written in")
    variance_weight: float = Field(0.0, ge=0, description="of the mean of p (1 - p), in the loss")

    def build(self, latent_channels: int) -> Bernoulli:
        """The module, a bit a channel.

        Raises:
            ValueError: if an index does not fit 32 bits.
        """
        return Bernoulli(latent_channels, self.num_codebooks, self.variance_weight)
