"""Global codes: a picture becomes feature maps, and each map, seen as one vector, becomes a token (QG-VAE).

Features and channels change places: a position of an ordinary latent tells of its patch, a token of this row of the
whole picture, as a frequency does. Linear maps, shared by groups of feature maps, go between a map and its token; they
belong to maps of one size, so those of other pictures are resized to it and back.

Source: Elsner et al. 2024, Quantised Global Autoencoder: A Holistic Approach to Representing Visual Data, arXiv
2407.11913, section 3, and its released code (networks without skips, whose blocks see their input again).

Letters: B batch, C channels, N feature maps or tokens, K <= N tokens, S side of the maps, G groups, f the maps' factor.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Conv3x3, GroupNorm


def wave_positions(size: Sequence[int], octaves: int, like: Tensor) -> Tensor:
    """Sines and cosines of 2^i times the place on each axis, from 0 to 1: (4 * octaves, H, W)."""
    axes = [torch.arange(side, device=like.device, dtype=torch.float32) / side for side in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (2, H, W)
    angles = torch.cat([2.0**octave * grid for octave in range(octaves)])
    return torch.cat([angles.sin(), angles.cos()]).to(like.dtype)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """x (B, C, H, W) with other sides: means where both are smaller, else bilinear interpolation."""
    if tuple(x.shape[2:]) == size:
        return x
    if size[0] <= x.shape[2] and size[1] <= x.shape[3]:
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def mapped(layer: nn.Module, x: Tensor, size: tuple[int, int]) -> Tensor:
    """x (B, C, H, W) through a 1x1 convolution and resized: these commute, and the smaller sides come first."""
    if x.shape[2] * x.shape[3] > size[0] * size[1]:
        out: Tensor = layer(resized(x, size))
        return out
    return resized(layer(x), size)


class SeeingBlock(nn.Module):
    """A residual block that is shown the network's input and the positions again, at its own size."""

    def __init__(self, in_channels: int, out_channels: int, seen_channels: int, groups: int) -> None:
        super().__init__()
        self.see = nn.Conv2d(seen_channels, in_channels, 1, bias=False)
        self.norm1 = GroupNorm(in_channels, _groups(in_channels, groups))
        self.conv1 = Conv3x3(in_channels, out_channels)
        self.norm2 = GroupNorm(out_channels, _groups(out_channels, groups))
        self.conv2 = Conv3x3(out_channels, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (B, C, H, W), seen (B, C_s, ...) of any sides -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x + mapped(self.see, seen, (x.shape[2], x.shape[3])))))
        out: Tensor = self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))
        return out


class Hourglass(nn.Module):
    """Down to the lowest resolution and up again, without skips; the resolutions of entry and exit may differ.

    Args:
        in_channels: C.
        out_channels: C'.
        widths: channels of each resolution, from the full one down.
        enter: position in ``widths`` of the resolution that comes in.
        leave: of that which goes out.
        octaves: of the positions.
        blocks_per_level: residual blocks of each resolution on either way.
        groups: of the norms, or the most that divide the width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        *,
        enter: int,
        leave: int,
        octaves: int,
        blocks_per_level: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.octaves = octaves
        seen = in_channels + 4 * octaves

        def level(before: int, after: int) -> nn.ModuleList:
            return nn.ModuleList(
                SeeingBlock(after if index else before, after, seen, groups)
                for index in range(blocks_per_level)
            )

        lowest = len(widths) - 1
        self.conv_in = Conv3x3(in_channels, widths[enter])
        self.down = nn.ModuleList(
            level(widths[max(index - 1, enter)], widths[index]) for index in range(enter, lowest + 1)
        )
        self.up = nn.ModuleList(
            level(widths[min(index + 1, lowest)], widths[index]) for index in range(lowest, leave - 1, -1)
        )
        self.conv_out = Conv3x3(widths[leave], out_channels)
        self.across = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W), sides multiples of what is halved on the way -> (B, C', H, W) of the exit's resolution."""
        size = (x.shape[2], x.shape[3])
        places = wave_positions(size, self.octaves, x).expand(len(x), -1, -1, -1)
        everything = torch.cat([x, places], dim=1)
        h, side = self.conv_in(x), size
        for index, blocks in enumerate(self.down):
            if index:
                side = (side[0] // 2, side[1] // 2)
                h = F.avg_pool2d(h, 2)
            h = self._through(blocks, h, everything)
        for index, blocks in enumerate(self.up):
            if index:
                side = (side[0] * 2, side[1] * 2)
                h = resized(h, side)
            h = self._through(blocks, h, everything)
        out: Tensor = self.conv_out(h) + mapped(self.across, x, side)
        return out

    @staticmethod
    def _through(blocks: nn.Module, h: Tensor, seen: Tensor) -> Tensor:
        for block in blocks.children():
            h = block(h, seen)
        return h

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (*self.down, *self.up):
            yield from level.children()


class GroupedLinear(nn.Module):
    """A linear map for each of G equal groups of rows.

    Args:
        rows: N.
        groups: G, divides N.
        in_features: of a row.
        out_features: of what becomes of it.
    """

    def __init__(self, rows: int, groups: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.rows_per_group = rows // groups
        self.weight = nn.Parameter(torch.randn(groups, in_features, out_features) * in_features**-0.5)
        self.bias = nn.Parameter(torch.zeros(groups, 1, out_features))

    def forward(self, rows: Tensor) -> Tensor:
        """rows (B, N, in) -> (B, N, out)."""
        grouped = rearrange(rows, "b (g r) i -> b g r i", r=self.rows_per_group)
        out: Tensor = grouped @ self.weight + self.bias
        return out.flatten(1, 2)


class Encoder(nn.Module):
    """x -> N feature maps -> N tokens.

    Args:
        maps: x -> (B, N, H/f, W/f).
        to_tokens: rows of S S numbers -> rows of C_h.
        side: S.
    """

    def __init__(self, maps: Hourglass, to_tokens: GroupedLinear, side: int) -> None:
        super().__init__()
        self.maps = maps
        self.to_tokens = to_tokens
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, N)."""
        maps = resized(self.maps(x), (self.side, self.side))
        h: Tensor = self.to_tokens(maps.flatten(2))  # (B, N, C_h)
        return h.transpose(1, 2).contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.maps.blocks()


class Decoder(nn.Module):
    """K tokens -> N feature maps, those of missing tokens 0 -> x_hat.

    Args:
        latent_channels: C.
        tokens: N.
        to_maps: rows of C numbers -> rows of S S.
        pixels: (B, N, H/f, W/f) -> x_hat.
        side: S.
        factor: f.
    """

    def __init__(
        self,
        latent_channels: int,
        tokens: int,
        to_maps: GroupedLinear,
        pixels: Hourglass,
        side: int,
        factor: int,
    ) -> None:
        super().__init__()
        self.tokens, self.side, self.factor = tokens, side, factor
        self.offset = nn.Parameter(torch.rand(latent_channels, tokens) - 0.5)
        self.to_maps = to_maps
        self.pixels = pixels

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, K), K at most N, and the picture's size, a multiple of the factor -> x_hat (B, 3, *size)."""
        count = z.shape[2]
        z = F.pad(z + self.offset[:, :count].to(z), (0, self.tokens - count))
        maps = rearrange(self.to_maps(z.transpose(1, 2)), "b n (h w) -> b n h w", h=self.side)
        there = (torch.arange(self.tokens, device=z.device) < count).view(1, -1, 1, 1)
        maps = torch.where(there, maps, 0.0)
        x_hat: Tensor = self.pixels(resized(maps, (size[0] // self.factor, size[1] // self.factor)))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.pixels.blocks()


class QGVAEConfig(BackboneSettings):
    """Global codes: feature maps as tokens (QG-VAE, arXiv 2407.11913); the defaults are those for 32 x 32 pixels.

    ``side`` is that of the feature maps which the linear maps take: the training resolution over ``factor``. With
    ``min_tokens`` any prefix of at least so many tokens decodes (regularizer ``token_dropping``).
    """

    kind: Literal["qgvae"] = "qgvae"
    latent_channels: int = Field(64, ge=1)
    tokens: int = Field(64, ge=1, description="of a picture, whatever its size; feature maps")
    min_tokens: int | None = Field(
        None, ge=1, description="the shortest prefix that decodes; none: all of them"
    )
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1, description="from the full resolution down")
    factor: int = Field(1, ge=1, description="pixels a side of a position of the feature maps, a power of 2")
    side: int = Field(32, ge=1, description="of the feature maps at the training resolution")
    heads: int = Field(8, ge=1, description="groups of feature maps with a linear map of their own")
    blocks_per_level: int = Field(1, ge=1)
    octaves: int = Field(16, ge=1, description="of the positions that blocks see")
    norm_groups: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "QGVAEConfig":
        if self.tokens % self.heads:
            raise ValueError(f"tokens {self.tokens} must be a multiple of heads, {self.heads}")
        if self.min_tokens is not None and self.min_tokens > self.tokens:
            raise ValueError(f"min_tokens {self.min_tokens} must not be above tokens, {self.tokens}")
        if self.factor not in [2**level for level in range(len(self.widths))]:
            powers = ", ".join(str(2**level) for level in range(len(self.widths)))
            raise ValueError(f"factor {self.factor}: with {len(self.widths)} widths it can be {powers}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side that pictures are padded to a multiple of."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def num_tokens(self) -> int | tuple[int, int]:
        """Of a latent."""
        return self.tokens if self.min_tokens is None else (self.min_tokens, self.tokens)

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        maps = self._hourglass(in_channels=3, out_channels=self.tokens, enter=0, leave=self._level)
        return Encoder(maps, GroupedLinear(self.tokens, self.heads, self.side**2, out_channels), self.side)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        pixels = self._hourglass(in_channels=self.tokens, out_channels=3, enter=self._level, leave=0)
        to_maps = GroupedLinear(self.tokens, self.heads, self.latent_channels, self.side**2)
        return Decoder(self.latent_channels, self.tokens, to_maps, pixels, self.side, self.factor)

    @property
    def _level(self) -> int:
        return self.factor.bit_length() - 1

    def _hourglass(self, *, in_channels: int, out_channels: int, enter: int, leave: int) -> Hourglass:
        make = partial(Hourglass, widths=self.widths, octaves=self.octaves, groups=self.norm_groups)
        return make(
            in_channels, out_channels, enter=enter, leave=leave, blocks_per_level=self.blocks_per_level
        )


def _groups(channels: int, most: int) -> int:
    """The largest number of groups up to ``most`` that divides the channels."""
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)
