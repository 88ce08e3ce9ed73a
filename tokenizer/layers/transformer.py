"""Transformer blocks over tokens, and positions that are computed for whatever grid the tokens come from.

Letters: B batch, N tokens, D width, G heads, K channels a head (D = G K).
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

Grid = tuple[int, ...]


def axial_angles(grid: Grid, head_channels: int, base: float = 10_000.0) -> Tensor:
    """Angles by which a head's channel pairs turn at every position of a grid: (N, K/2) float32, rows first.

    Each axis owns an equal share of the pairs and turns them by its index times falling frequencies.

    Source: Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2.2, applied to each axis by itself.

    Raises:
        ValueError: if the pairs cannot be shared equally.
    """
    indices = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
    return angles_at(torch.stack([index.flatten() for index in indices], dim=1), head_channels, base)


def angles_at(places: Tensor, head_channels: int, base: float = 10_000.0) -> Tensor:
    """The angles of ``axial_angles`` at any places (N, axes) float32, in cells of the grid: (N, K/2) float32.

    Raises:
        ValueError: if the pairs cannot be shared equally.
    """
    axes = places.shape[1]
    if head_channels % (2 * axes):
        raise ValueError(f"{head_channels} channels a head must be a multiple of {2 * axes} for {axes} axes")
    share = head_channels // (2 * axes)
    frequencies = base ** (-torch.arange(share, dtype=torch.float32, device=places.device) / share)
    return (places[:, :, None] * frequencies).flatten(1)  # (N, axes, share) -> (N, K/2)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the channel pairs (i, i + K/2) of x (B, G, N, K) by ``angles`` (N, K/2); computed in float32."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).to(x.dtype)


class RotaryPositions(nn.Module):
    """Positions as rotations of queries and keys, axis by axis: any grid, and scores see differences only."""

    def __init__(self, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """tokens (B, N, D) unchanged, and the angles (N, K/2)."""
        return tokens, axial_angles(grid, self.head_channels).to(tokens.device)


class SinCosPositions(nn.Module):
    """Fixed sines and cosines added to the tokens, axis by axis, for any grid.

    Source: Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.5.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """tokens (B, N, D) plus their positions; no angles."""
        angles = axial_angles(grid, self.width)
        table = torch.cat([angles.sin(), angles.cos()], dim=1)  # (N, D)
        return tokens + table.to(tokens), None


class LearnedPositions(nn.Module):
    """A learned table added to the tokens, resized (bicubic) where a grid is not its own.

    Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, arXiv 2010.11929, section 3.2 (resizing).
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.table = nn.Parameter(torch.empty(side * side, width))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """tokens (B, N, D) of a grid of rows and columns, plus their positions; no angles."""
        table: Tensor = self.table
        if grid != (self.side, self.side):
            picture = rearrange(table.float(), "(h w) d -> 1 d h w", h=self.side)
            picture = F.interpolate(picture, size=grid, mode="bicubic", antialias=True)
            table = rearrange(picture, "1 d h w -> (h w) d")
        return tokens + table.to(tokens), None


class Attention(nn.Module):
    """Softmax attention of all tokens to all tokens, or to those that a mask lets them see."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, angles: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D) -> the same shape.

        ``angles`` (N, K/2) turn queries and keys; ``mask`` (N, N) bool says which tokens (columns) a token sees.
        """
        q, k, v = rearrange(self.qkv(x), "b n (three g k) -> three b g n k", three=3, g=self.heads)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, G, N, K)
        out: Tensor = self.proj(rearrange(h, "b g n k -> b n (g k)"))
        return out


class GELUFeedForward(nn.Module):
    """Two linear maps with a GELU between them, four times as wide inside: 8 D^2 weights."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 4 * width, bias=bias)
        self.outer = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> the same shape."""
        out: Tensor = self.outer(F.gelu(self.inner(x)))
        return out


class SwiGLUFeedForward(nn.Module):
    """A gated feed-forward, silu(x V) times x W, 8/3 times as wide inside: about 8 D^2 weights as well.

    Source: Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202, equation 6 and section 3 (width).
    """

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        hidden = -(-8 * width // (3 * 8)) * 8  # 8/3 of the width, up to a multiple of 8
        self.inner = nn.Linear(width, 2 * hidden, bias=bias)
        self.outer = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> the same shape."""
        gate, h = self.inner(x).chunk(2, dim=-1)
        out: Tensor = self.outer(F.silu(gate) * h)
        return out


FEED_FORWARDS: dict[str, Callable[[int, bool], nn.Module]] = {
    "swiglu": SwiGLUFeedForward,
    "gelu": GELUFeedForward,
}


class Block(nn.Module):
    """Attention, then the feed-forward, each behind a norm and with its residual (pre-norm)."""

    def __init__(self, width: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, angles: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D) -> the same shape; ``angles`` and ``mask`` as for the attention."""
        x = x + self.attention(self.norm1(x), angles, mask)
        out: Tensor = x + self.feed_forward(self.norm2(x))
        return out


class Transformer(nn.Module):
    """Positions, an optional norm, blocks, a norm.

    Args:
        width: D.
        depth: number of blocks.
        heads: G.
        feed_forward: makes a block's feed-forward from (width, bias).
        positions: (tokens, grid) -> (tokens, angles or None).
        bias: whether the blocks' linear maps have one.
        pre_norm: normalise the tokens before the first block too.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        feed_forward: Callable[[int, bool], nn.Module],
        positions: nn.Module,
        bias: bool,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.positions = positions
        self.norm_in = nn.LayerNorm(width, eps=1e-6) if pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, Attention(width, heads, bias), feed_forward(width, bias)) for _ in range(depth)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.blocks.apply(init_linear)

    def forward(self, tokens: Tensor, grid: Grid, mask: Tensor | None = None) -> Tensor:
        """tokens (B, N, D) in the order of ``grid``'s positions, rows first -> the same shape, normalised.

        ``mask`` (N, N) bool: which tokens (columns) a token sees; all without it.
        """
        x, angles = self.positions(tokens, grid)
        x = self.norm_in(x)
        for block in self.blocks:
            x = block(x, angles, mask)
        out: Tensor = self.norm_out(x)
        return out


def init_linear(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases for a linear map; anything else is left alone."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
