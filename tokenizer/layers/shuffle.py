"""Space and time moved into channels and back, and the shortcuts made of it.

Letters: B clips, C channels, T frames, H W rows and columns, t s the factors in time and space.
"""

from einops import rearrange, repeat
from torch import Tensor

Factors = tuple[int, int]  # frames, and rows as well as columns


def to_channels(x: Tensor, factors: Factors) -> Tensor:
    """x (B, C, T, H, W) -> (B, C t s s, T/t, H/s, W/s)."""
    t, s = factors
    return rearrange(x, "b c (t i) (h j) (w k) -> b (c i j k) t h w", i=t, j=s, k=s)


def from_channels(x: Tensor, factors: Factors) -> Tensor:
    """The inverse of ``to_channels``: (B, C t s s, T, H, W) -> (B, C, T t, H s, W s)."""
    t, s = factors
    return rearrange(x, "b (c i j k) t h w -> b c (t i) (h j) (w k)", i=t, j=s, k=s)


def average(x: Tensor, factors: Factors, channels: int) -> Tensor:
    """x shrunk without weights: moved into channels, which are averaged in groups until ``channels`` are left."""
    return rearrange(to_channels(x, factors), "b (c g) t h w -> b c g t h w", c=channels).mean(dim=2)


def duplicate(x: Tensor, factors: Factors, channels: int) -> Tensor:
    """x enlarged without weights: channels repeated until they make ``channels`` after moving into space and time."""
    t, s = factors
    times = channels * t * s * s // x.shape[1]
    return from_channels(repeat(x, "b c t h w -> b (c n) t h w", n=times), factors)
