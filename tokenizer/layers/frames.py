"""Clips as pictures: time folded into the batch, for what looks at one frame at a time.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from einops import rearrange
from torch import Tensor


def fold(x: Tensor) -> Tensor:
    """Clips (B, C, T, H, W) -> their frames (B T, C, H, W); pictures (B, C, H, W) stay as they are."""
    return rearrange(x, "b c t h w -> (b t) c h w") if x.ndim == 5 else x


def unfold(x: Tensor, clips: int) -> Tensor:
    """Frames (B T, C, H, W) of B ``clips`` -> (B, C, T, H, W)."""
    return rearrange(x, "(b t) c h w -> b c t h w", b=clips)
