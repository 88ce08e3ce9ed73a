"""A row of tokens between convolutions and transformers: queries read a convolutional encoder's map, and a larger
transformer writes the map that a convolutional decoder makes pixels of.

Source: Xiong et al. 2025, GigaTok: Scaling Visual Tokenizers to 3 Billion Parameters for Autoregressive Image
Generation, arXiv 2504.08736, section 3.1 (hybrid, Q-Former), and its released networks: no attention among the
convolutions, queries that begin as means over ever smaller parts of the map, adaptive norms and depth-to-space in the
decoder.

Letters: B batch, C channels, E channels of the map, H' W' the map, N tokens, D width, f the spatial factor.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers import resnet
from tokenizer.layers.queries import QueryBlock
from tokenizer.layers.resnet import Conv3x3, GroupNorm, ResBlock
from tokenizer.layers.transformer import Grid, LearnedPositions, init_linear

DEVIATION = 0.02


def pooled(x: Tensor, count: int) -> Tensor:
    """Means of the map x (B, D, H', W') over ever smaller parts, 1, 1, 2, 4, ... of them: (B, ``count``, D)."""
    groups = [F.adaptive_avg_pool2d(x, 1)]
    for level in range(round(math.log2(count))):
        groups.append(F.adaptive_avg_pool2d(x, (2 ** (level // 2), 2 ** ((level + 1) // 2))))
    return torch.cat([group.flatten(2) for group in groups], dim=2).transpose(1, 2)


class Positions(nn.Module):
    """Learned positions of the map and of the row.

    Args:
        width: D.
        side: of the learned map; other maps resize it.
        num_tokens: N.
    """

    def __init__(self, width: int, side: int, num_tokens: int) -> None:
        super().__init__()
        self.map = LearnedPositions(width, side)
        self.row = nn.Parameter(DEVIATION * torch.randn(num_tokens, width))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Positions of the map (1, H' W', D) and of the row (1, N, D), in the dtype of x."""
        nothing = x.new_zeros(1, grid[0] * grid[1], self.row.shape[1])
        return self.map(nothing, grid)[0], self.row.to(x).unsqueeze(0)


class Encoder(nn.Module):
    """Convolutions, then queries that read their map.

    Args:
        out_channels: C_h.
        channels: E.
        num_tokens: N, a power of two.
        width, depth, heads: of the blocks.
        positions: of map and row.
        cnn: pixels -> map (B, E, H', W').
    """

    def __init__(
        self,
        out_channels: int,
        channels: int,
        num_tokens: int,
        width: int,
        depth: int,
        heads: int,
        positions: Positions,
        cnn: resnet.Encoder,
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.cnn = cnn
        self.norm_in = nn.LayerNorm(channels)
        self.embed = nn.Linear(channels, width)
        self.query = nn.Linear(width, width)
        self.positions = positions
        self.body = nn.ModuleList(QueryBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, channels)
        self.quant_conv = nn.Linear(channels, out_channels)
        for layer in (self.embed, self.query, self.project, self.quant_conv):
            init_linear(layer)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, N)."""
        features = self.cnn(x)
        grid = (features.shape[2], features.shape[3])
        memory = self.embed(self.norm_in(rearrange(features, "b c h w -> b (h w) c")))  # (B, H' W', D)
        picture = rearrange(memory, "b (h w) d -> b d h w", h=grid[0])
        row = self.query(pooled(picture, self.num_tokens))
        memory_at, at = self.positions(memory, grid)
        for block in self.body:
            row = block(row, memory, at, memory_at)
        h: Tensor = self.quant_conv(self.project(self.norm_out(row)))
        return h.transpose(1, 2).contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.cnn.blocks()
        yield from self.body


class AdaptiveGroupNorm(nn.Module):
    """Group norm whose scale and shift are told by deviation and mean of what the decoder began with.

    Source: Yu et al. 2023, Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (MAGVIT-v2),
    arXiv 2310.05737, section 3.2 (adaptive group normalization).
    """

    def __init__(self, channels: int, groups: int, told_by: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6, affine=False)
        self.scale = nn.Linear(told_by, channels)
        self.shift = nn.Linear(told_by, channels)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, C, H, W), style (B, E, H', W') -> the shape of x."""
        values = style.flatten(2).float()
        deviation = (values.var(dim=2, correction=0) + 1e-6).sqrt().to(x)
        scale, shift = self.scale(deviation), self.shift(values.mean(dim=2).to(x))
        out: Tensor = self.norm(x) * scale[:, :, None, None] + shift[:, :, None, None]
        return out


class DepthToSpace(nn.Module):
    """Twice the sides: a convolution to four times the channels, dealt out to the four pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv3x3(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        return F.pixel_shuffle(self.conv(x), 2)


class Pixels(nn.Module):
    """The convolutional decoder.

    Args:
        channels: E.
        widths: channels of each resolution, from the pixels down.
        blocks_per_level: of the encoder; here one more.
        groups: of the norms.
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks_per_level: int, groups: int) -> None:
        super().__init__()
        norm = partial(GroupNorm, groups=groups)
        self.conv_in = Conv3x3(channels, widths[-1])
        self.mid = nn.ModuleList(ResBlock(widths[-1], widths[-1], norm) for _ in range(2))
        self.adapt, self.levels, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = widths[-1]
        for index in reversed(range(len(widths))):
            self.adapt.append(AdaptiveGroupNorm(before, groups, channels))
            pairs = [before] + [widths[index]] * (blocks_per_level + 1)
            blocks = (ResBlock(one, two, norm) for one, two in zip(pairs[:-1], pairs[1:], strict=True))
            self.levels.append(nn.Sequential(*blocks))
            self.up.append(DepthToSpace(widths[index]) if index else nn.Identity())
            before = widths[index]
        self.norm_out = norm(widths[0])
        self.conv_out = Conv3x3(widths[0], 3)

    def forward(self, style: Tensor) -> Tensor:
        """The map (B, E, H', W') -> x_hat (B, 3, f H', f W')."""
        h = self.conv_in(style)
        for block in self.mid:
            h = block(h)
        for adapt, level, up in zip(self.adapt, self.levels, self.up, strict=True):
            h = up(level(adapt(h, style)))
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.mid
        for level, up in zip(self.levels, self.up, strict=True):
            yield from level.children()
            yield up


class Decoder(nn.Module):
    """Queries at every place of the map read the tokens, then convolutions; blocks of ``body`` give (B, H' W', D).

    Args:
        latent_channels: C.
        factor: f.
    """

    def __init__(
        self,
        latent_channels: int,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        positions: Positions,
        factor: int,
        cnn: Pixels,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.post_quant_conv = nn.Linear(latent_channels, channels)
        self.norm_in = nn.LayerNorm(channels)
        self.embed = nn.Linear(channels, width)
        self.positions = positions
        self.body = nn.ModuleList(QueryBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Conv2d(width, channels, 3, padding=1)
        self.cnn = cnn
        for layer in (self.post_quant_conv, self.embed):
            init_linear(layer)

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, N) and the picture's size, a multiple of f -> x_hat (B, 3, *size)."""
        grid = (size[0] // self.factor, size[1] // self.factor)
        row = self.embed(self.norm_in(self.post_quant_conv(z.transpose(1, 2))))  # (B, N, D)
        at, row_at = self.positions(row, grid)
        picture = row[:, :1].expand(-1, grid[0] * grid[1], -1)
        for block in self.body:
            picture = block(picture, row, at, row_at)
        picture = rearrange(self.norm_out(picture), "b (h w) d -> b d h w", h=grid[0])
        x_hat: Tensor = self.cnn(self.project(picture))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body
        yield from self.cnn.blocks()


class GigaTokSize(Config):
    """How many blocks of queries, and how wide."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks")
    heads: int = Field(ge=1)


SIZES: dict[str, GigaTokSize] = {
    "S": GigaTokSize(width=512, depth=6, heads=8),
    "B": GigaTokSize(width=768, depth=12, heads=12),
    "L": GigaTokSize(width=1024, depth=24, heads=16),
    "XL": GigaTokSize(width=1280, depth=36, heads=20),
    "XXL": GigaTokSize(width=1536, depth=48, heads=24),
}
Size = Literal["S", "B", "L", "XL", "XXL"]


class GigaTokConfig(BackboneSettings):
    """Convolutions and queries, the decoder larger than the encoder (GigaTok, arXiv 2504.08736); defaults: B-L."""

    kind: Literal["gigatok"] = "gigatok"
    latent_channels: int = Field(8, ge=1)
    tokens: int = Field(256, ge=1, description="of a picture, a power of two")
    encoder: Size | GigaTokSize = "B"
    decoder: Size | GigaTokSize = "L"
    inner_channels: int = Field(256, ge=1, description="of the map between convolutions and queries")
    widths: tuple[int, ...] = Field((128, 128, 256, 256, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)
    learned_side: int = Field(16, ge=1, description="map of learned positions; other maps resize it")

    @model_validator(mode="after")
    def _consistent(self) -> "GigaTokConfig":
        if self.tokens & (self.tokens - 1):
            raise ValueError(f"tokens {self.tokens} must be a power of two")
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        for name in ("encoder", "decoder"):
            size = self.size(getattr(self, name))
            if size.width % size.heads:
                raise ValueError(f"{name}: width {size.width} must be a multiple of heads, {size.heads}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side that pictures are padded to a multiple of."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def num_tokens(self) -> int:
        """Of a latent."""
        return self.tokens

    def size(self, named: str | GigaTokSize) -> GigaTokSize:
        """The size that a name of the paper's table stands for."""
        return named if isinstance(named, GigaTokSize) else SIZES[named]

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        size = self.size(self.encoder)
        cnn = resnet.Encoder(
            out_channels=self.inner_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=False,
            quant_conv=False,
        )
        return Encoder(
            out_channels=out_channels,
            channels=self.inner_channels,
            num_tokens=self.tokens,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            positions=Positions(size.width, self.learned_side, self.tokens),
            cnn=cnn,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        size = self.size(self.decoder)
        return Decoder(
            latent_channels=self.latent_channels,
            channels=self.inner_channels,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            positions=Positions(size.width, self.learned_side, self.tokens),
            factor=self.spatial_factor,
            cnn=Pixels(self.inner_channels, self.widths, self.blocks_per_level, self.norm_groups),
        )
