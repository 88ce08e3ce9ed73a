"""Finite scalar quantization: each channel is rounded to a few levels, and the codebook is their product.

Letters: B batch, C latent channels, S the latent's grid, Q codebooks, D channels of a codebook, L levels.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, zero_loss
from tokenizer.core.config import Config
from tokenizer.layers.entropy import distribution_entropy
from tokenizer.layers.estimators import straight_through
from tokenizer.layers.precision import full_precision


class FSQ(nn.Module):
    """Bounded by tanh, rounded with straight-through gradients, no codebook and no loss.

    Args:
        levels: L of each channel of a codebook; the first is the least significant digit of an index.
        num_codebooks: Q, so that the latent has Q * len(levels) channels.
        symmetric: levels spread evenly over [-1, 1], for any L >= 2; otherwise the paper's, with 0 among them, so
            that an even L reaches one level further down than up.

    Source: Mentzer et al. 2023, Finite Scalar Quantization: VQ-VAE Made Simple, arXiv 2309.15505, section 3.1
    and appendix A.1; symmetric: Parker et al. 2024, Scaling Transformers for Low-Bitrate High-Quality Speech
    Coding, arXiv 2411.19842, section 3.2.
    """

    levels: Tensor
    basis: Tensor
    unit: Tensor

    def __init__(self, levels: Sequence[int], num_codebooks: int = 1, symmetric: bool = False) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(
                f"levels must name at least one channel and be 2 or more each, got {list(levels)}"
            )
        if 2 in levels and not symmetric:
            raise ValueError(
                f"2 levels are uneven around 0, got {list(levels)}: choose 3 or more, or symmetric=true"
            )
        self.symmetric = symmetric
        self.input_channels = len(levels) * num_codebooks
        self.noise_channels = 0
        self.most_levels = max(levels)
        self.num_codebooks = num_codebooks
        self.codes: Codes | None = Codes(math.prod(levels), num_codebooks)
        basis = [math.prod(levels[:place]) for place in range(len(levels))]
        self.register_buffer("levels", torch.tensor(tuple(levels) * num_codebooks), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.register_buffer("unit", torch.ones(()), persistent=False)  # knows the dtype that z has

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> z of the same shape in [-1, 1]; nothing is drawn."""
        with full_precision(h.device):
            bounded = self._bound(h.float())
            digits = self._digits(bounded.detach())
            z = straight_through(bounded, self._values(digits))
            stats = {"level_entropy": self._level_entropy(digits)}
        return BottleneckOutput(z.to(h.dtype), zero_loss(h), self._pack(digits), stats)

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """int64 (B, *S) or (B, Q, *S) -> z (B, C, *S)."""
        if self.num_codebooks == 1:
            indices = indices.unsqueeze(1)
        digits = indices.long().unsqueeze(2) // self._per_channel(self.basis, indices.ndim + 1, axis=2)
        digits = digits.flatten(1, 2) % self._per_channel(self.levels, indices.ndim)  # (B, C, *S)
        return self._values(digits).to(self.unit.dtype)

    def encode_indices(self, z: Tensor) -> Tensor:
        """z (B, C, *S) as ``forward`` or ``decode_indices`` gave it -> indices; bfloat16 tells 511 levels apart."""
        return self._pack(self._digits(z.float()))

    def _bound(self, h: Tensor) -> Tensor:
        """h -> within half a level of the levels, on the scale of z."""
        levels = self._per_channel(self.levels, h.ndim)
        if self.symmetric:
            return torch.tanh(h)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        return (torch.tanh(h + torch.atanh(offset / half)) * half - offset) / (levels // 2)

    def _digits(self, values: Tensor) -> Tensor:
        """Values on the scale of z -> the nearest level of each channel, int64 from 0 to L - 1."""
        levels = self._per_channel(self.levels, values.ndim)
        if self.symmetric:
            digits = ((levels - 1) * (values + 1.0) / 2.0 + 0.5).floor()
        else:
            digits = (values * (levels // 2)).round() + levels // 2
        return digits.long().clamp(min=torch.zeros_like(levels), max=levels - 1)

    def _values(self, digits: Tensor) -> Tensor:
        """The inverse of ``_digits`` on levels, float32."""
        levels = self._per_channel(self.levels, digits.ndim)
        if self.symmetric:
            return digits.float() * (2.0 / (levels - 1)) - 1.0
        half = levels // 2
        return (digits - half).float() / half

    def _pack(self, digits: Tensor) -> Tensor:
        """Digits (B, C, *S) -> indices (B, *S) or (B, Q, *S)."""
        grouped = rearrange(digits, "b (q d) ... -> b q d ...", q=self.num_codebooks)
        indices: Tensor = (grouped * self._per_channel(self.basis, grouped.ndim, axis=2)).sum(dim=2)
        return indices.squeeze(1) if self.num_codebooks == 1 else indices

    def _level_entropy(self, digits: Tensor) -> Tensor:
        """How evenly a batch uses the levels, from 0 to 1: entropy over log L, mean over channels."""
        taken = digits.transpose(0, 1).flatten(1).unsqueeze(-1)  # (C, N, 1)
        p = (taken == torch.arange(self.most_levels, device=digits.device)).float().mean(dim=1)  # (C, L)
        return (distribution_entropy(p) / self.levels.float().log()).mean()

    @staticmethod
    def _per_channel(values: Tensor, ndim: int, axis: int = 1) -> Tensor:
        """Values of channels, to be broadcast over ``axis`` of a tensor with ``ndim`` axes."""
        return values.view((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


class FSQConfig(Config):
    """Finite scalar quantization, a product of a few levels a channel (FSQ, arXiv 2309.15505)."""

    kind: Literal["fsq"] = "fsq"
    levels: tuple[int, ...] = Field((8, 8, 8, 5, 5, 5), description="of each channel of a codebook")
    num_codebooks: int = Field(1, ge=1)
    symmetric: bool = Field(
        False, description="even spacing over [-1, 1]; needed where a channel has 2 levels"
    )

    def build(self, latent_channels: int) -> FSQ:
        """The module.

        Raises:
            ValueError: if the levels do not fit the latent's channels, or an index does not fit 32 bits.
        """
        if latent_channels != len(self.levels) * self.num_codebooks:
            raise ValueError(
                f"{len(self.levels)} levels times num_codebooks {self.num_codebooks} must be the latent_channels, "
                f"which are {latent_channels}"
            )
        return FSQ(self.levels, self.num_codebooks, self.symmetric)
