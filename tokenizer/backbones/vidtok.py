"""Space and time apart: residual blocks of frames, causal residual blocks along time, and resampling that is mixed.

Source: Tang et al. 2024, VidTok: A Versatile and Open-Source Video Tokenizer, arXiv 2412.13061, section 3.1.

Letters: B clips, C channels, T frames, H W rows and columns, f t the spatial and temporal factor.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.causal import Cache, CausalConv3d, CausalUpsample, Remembering
from tokenizer.layers.causal_resnet import CausalChain, CausalResBlock, FrameAttention
from tokenizer.layers.norms import ChannelNorm
from tokenizer.spec import Timeline

FRAME, TIME = (1, 3, 3), (3, 1, 1)
MIX = 2.0  # what mixes begin with: sigmoid(2) = 0.88 of the path without weights


def time_block(channels: int) -> CausalResBlock:
    """A residual block along time that begins as the identity."""
    block = CausalResBlock(channels, channels, ChannelNorm, TIME)
    nn.init.zeros_(block.conv2.conv.weight)
    assert block.conv2.conv.bias is not None
    nn.init.zeros_(block.conv2.conv.bias)
    return block


class TimeDownsample(Remembering):
    """Halve the frames behind the first: a mix of their mean over three and a strided causal convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, TIME, (2, 1, 1))
        self.mix = nn.Parameter(torch.tensor([MIX]))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H, W)."""
        share = self.mix.sigmoid()
        convolved = self.conv(x, cache)
        mean = F.avg_pool3d(self.recall(x, cache, past=1, first=2), TIME, (2, 1, 1))
        out: Tensor = share * mean + (1.0 - share) * convolved
        return out


class TimeUpsample(nn.Module):
    """Double the frames behind the first: a mix of their copies and a causal convolution of these."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.repeat = CausalUpsample(2)
        self.conv = CausalConv3d(channels, channels, TIME)
        self.mix = nn.Parameter(torch.tensor([MIX]))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H, W)."""
        x = self.repeat(x, cache)
        share = self.mix.sigmoid()
        out: Tensor = share * x + (1.0 - share) * self.conv(x, cache)
        return out


class Halve(CausalConv3d):
    """Half the sides, by a strided convolution padded on the right and the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, FRAME, (1, 2, 2), padding=(0, 1, 0, 1))


class Double(CausalConv3d):
    """Twice the sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, FRAME)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T, 2H, 2W)."""
        return super().forward(x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2), cache)


def middle(channels: int) -> CausalChain:
    """Blocks of frames around attention over each frame, and blocks along time around them."""
    return CausalChain(
        CausalResBlock(channels, channels, ChannelNorm, FRAME),
        time_block(channels),
        FrameAttention(channels, ChannelNorm),
        CausalResBlock(channels, channels, ChannelNorm, FRAME),
        time_block(channels),
    )


def pairs(in_channels: int, out_channels: int, count: int) -> list[nn.Module]:
    """``count`` times a block of frames and one along time."""
    modules: list[nn.Module] = []
    for index in range(count):
        width = out_channels if index else in_channels
        modules += [CausalResBlock(width, out_channels, ChannelNorm, FRAME), time_block(out_channels)]
    return modules


class Encoder(nn.Module):
    """Clips to features."""

    def __init__(self, config: "VidTokConfig", out_channels: int) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = CausalConv3d(3, widths[0])
        self.levels = CausalChain()
        for index, width in enumerate(widths):
            modules = pairs(widths[max(index - 1, 0)], width, config.blocks_per_level)
            if index + 1 < len(widths):
                modules.append(Halve(width))
            if index in config.time_levels:
                modules.append(TimeDownsample(width))
            self.levels.append(CausalChain(*modules))
        self.mid = middle(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], out_channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1] -> h (B, C_h, T', H/f, W/f)."""
        h = self.mid(self.levels(self.conv_in(x, cache), cache), cache)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)), cache)
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (*self.levels, self.mid):
            yield from level.children()


class Decoder(nn.Module):
    """Latents to clips; ``levels`` from the lowest resolution up, each with one pair of blocks more."""

    def __init__(self, config: "VidTokConfig") -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = CausalConv3d(config.latent_channels, widths[-1])
        self.mid = middle(widths[-1])
        self.levels = CausalChain()
        for index in reversed(range(len(widths))):
            before = widths[min(index + 1, len(widths) - 1)]
            modules = pairs(before, widths[index], config.blocks_per_level + 1)
            if index - 1 in config.time_levels:
                modules.append(TimeUpsample(widths[index]))
            if index:
                modules.append(Double(widths[index]))
            self.levels.append(CausalChain(*modules))
        self.norm_out = ChannelNorm(widths[0])
        self.conv_out = CausalConv3d(widths[0], 3)

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z (B, C, T', H', W') -> x_hat (B, 3, T, f H', f W')."""
        h = self.levels(self.mid(self.conv_in(z, cache), cache), cache)
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h)), cache)
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (self.mid, *self.levels):
            yield from level.children()


class VidTokConfig(BackboneSettings):
    """Space and time apart, both causal (VidTok, arXiv 2412.13061); the defaults are 4x8x8.

    ``time_levels`` are positions in ``widths`` (0: full resolution) behind which the frames are halved.
    """

    kind: Literal["vidtok"] = "vidtok"
    latent_channels: int = Field(4, ge=1)
    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    time_levels: tuple[int, ...] = (1, 2)

    @model_validator(mode="after")
    def _consistent(self) -> "VidTokConfig":
        last = len(self.widths) - 2
        if any(not 0 <= level <= last for level in self.time_levels):
            raise ValueError(f"time_levels names positions in widths before the last, 0 to {last}")
        if len(set(self.time_levels)) != len(self.time_levels):
            raise ValueError("time_levels names a position twice")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def time(self) -> Timeline:
        """Causal, the first frame alone."""
        return Timeline(factor=int(2 ** len(self.time_levels)))

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(self, out_channels)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self)
