"""Pictures as rows of square patches, and back.

Letters: B batch, C channels, P patch side, H' W' = H/P W/P patches.
"""

from einops import rearrange
from torch import Tensor

from tokenizer.layers.transformer import Grid


def to_patches(x: Tensor, patch: int) -> tuple[Tensor, Grid]:
    """x (B, C, H, W), sides multiples of P -> (B, H' W', C P P), rows first, and (H', W')."""
    grid = (x.shape[2] // patch, x.shape[3] // patch)
    return rearrange(x, "b c (h i) (w j) -> b (h w) (c i j)", i=patch, j=patch), grid


def from_patches(patches: Tensor, grid: Grid, patch: int) -> Tensor:
    """The inverse of ``to_patches``, contiguous."""
    x: Tensor = rearrange(
        patches, "b (h w) (c i j) -> b c (h i) (w j)", h=grid[0], w=grid[1], i=patch, j=patch
    )
    return x.contiguous()
