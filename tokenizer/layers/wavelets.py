"""The orthonormal Haar wavelet in two and three dimensions.

Letters: B batch, C channels, T frames, H W rows and columns (even).
"""

import torch
from einops import rearrange
from torch import Tensor

from tokenizer.layers.frames import fold, unfold


def haar(x: Tensor) -> Tensor:
    """x (B, C, H, W) -> (B, 4, C, H/2, W/2): low, horizontal, vertical and diagonal detail; energy is kept.

    Source: Mallat 1989, A theory for multiresolution signal decomposition, section IV (Haar filters, two dimensions).
    """
    cells = rearrange(x, "b c (h i) (w j) -> i j b c h w", i=2, j=2)
    a, b, c, d = cells[0, 0], cells[0, 1], cells[1, 0], cells[1, 1]
    bands = (a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)
    return rearrange([0.5 * band for band in bands], "k b c h w -> b k c h w")


def inverse_haar(bands: Tensor) -> Tensor:
    """The exact inverse of ``haar``: (B, 4, C, H, W) -> (B, C, 2H, 2W)."""
    low, across, down, diagonal = (0.5 * bands[:, k] for k in range(4))
    cells = (
        low + across + down + diagonal,
        low - across + down - diagonal,
        low + across - down - diagonal,
        low - across - down + diagonal,
    )
    return rearrange(list(cells), "(i j) b c h w -> b c (h i) (w j)", i=2)


def time_haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (B, C, T, H, W), T even -> sums and differences of neighbouring frames, each (B, C, T/2, H, W)."""
    first, second = x[:, :, 0::2], x[:, :, 1::2]
    return 0.5**0.5 * (first + second), 0.5**0.5 * (first - second)


def inverse_time_haar(low: Tensor, high: Tensor) -> Tensor:
    """The exact inverse of ``time_haar``."""
    pairs = torch.stack([low + high, low - high], dim=3)
    x: Tensor = 0.5**0.5 * rearrange(pairs, "b c t i h w -> b c (t i) h w")
    return x


def haar3d(x: Tensor) -> Tensor:
    """x (B, C, T, H, W), all even -> (B, 8 C, T/2, H/2, W/2), C channels a band.

    First the bands of ``haar`` of the sums in time, the lowest first, then those of the differences.
    """
    return torch.cat([frames_haar(part) for part in time_haar(x)], dim=1)


def inverse_haar3d(bands: Tensor) -> Tensor:
    """The exact inverse of ``haar3d``: (B, 8 C, T, H, W) -> (B, C, 2T, 2H, 2W)."""
    low, high = (frames_inverse_haar(part) for part in bands.chunk(2, dim=1))
    return inverse_time_haar(low, high)


def frames_haar(x: Tensor) -> Tensor:
    """``haar`` of every frame: x (B, C, T, H, W) -> (B, 4 C, T, H/2, W/2), the lowest band first."""
    return unfold(haar(fold(x)).flatten(1, 2), x.shape[0])


def frames_inverse_haar(bands: Tensor) -> Tensor:
    """The exact inverse of ``frames_haar``: (B, 4 C, T, H, W) -> (B, C, T, 2H, 2W)."""
    frames = rearrange(fold(bands), "b (k c) h w -> b k c h w", k=4)
    return unfold(inverse_haar(frames), bands.shape[0])
