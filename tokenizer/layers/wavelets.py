"""The orthonormal Haar wavelet in two dimensions.

Letters: B batch, C channels, H W rows and columns (even).
"""

from einops import rearrange
from torch import Tensor


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
