"""LiteVAE: a light encoder that reads several levels of Haar wavelets, and latent diffusion's decoder.

Each level's bands pass through a small U-Net that keeps its size (shared by all levels if asked), are averaged down to
the latent's grid, and another U-Net makes the latent of all of them.

Source: Sadat et al. 2024, LiteVAE: Lightweight and Efficient Variational Autoencoders for Latent Diffusion Models,
arXiv 2405.14477, section 4.1, tables 23 and 24, appendix G; section 4.2 (self-modulated convolution) and appendix D.4
(shared feature extraction).

Letters: B batch, C channels, H W rows and columns, L levels, f = 2^L the spatial factor.
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
from tokenizer.layers.resnet import (
    Conv3x3,
    Decoder,
    GroupNorm,
    MakeConv,
    MakeNorm,
    ResBlock,
    SelfModulatedConv,
    Unchanged,
)
from tokenizer.layers.wavelets import haar

_BANDS = 4 * 3  # low, horizontal, vertical, diagonal of each colour


class UNet(nn.Module):
    """Residual blocks that widen, two in the middle, and blocks that narrow and read what the first ones made.

    The sides never change: only channels do.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int], num_blocks: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], []
        for wide in widths:
            for _ in range(num_blocks):
                self.down.append(ResBlock(width, wide, _norm))
                width = wide
                skips.append(width)
        self.mid = nn.Sequential(ResBlock(width, width, _norm), ResBlock(width, width, _norm))
        for wide in reversed(widths):
            for _ in range(num_blocks):
                self.up.append(ResBlock(width + skips.pop(), wide, _norm))
                width = wide
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W)."""
        h = self.conv_in(x)
        skips = []
        for block in self.down:
            h = block(h)
            skips.append(h)
        h = self.mid(h)
        for block in self.up:
            h = block(torch.cat([h, skips.pop()], dim=1))
        out: Tensor = self.conv_out(h)
        return out


def _norm(channels: int) -> GroupNorm:
    return GroupNorm(channels, math.gcd(32, channels))  # 32 groups, or what divides a narrow layer


class Encoder(nn.Module):
    """Pixels to features through L levels of wavelets; ``extractors`` holds one U-Net a level, or one for all."""

    def __init__(
        self,
        out_channels: int,
        levels: int,
        extractor_widths: Sequence[int],
        aggregator_widths: Sequence[int],
        blocks_per_width: int,
        share_extractor: bool,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.extractors = nn.ModuleList(
            UNet(_BANDS, _BANDS, extractor_widths, blocks_per_width)
            for _ in range(1 if share_extractor else levels)
        )
        self.aggregator = UNet(levels * _BANDS, out_channels, aggregator_widths, blocks_per_width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        features = []
        for level in range(self.levels):
            bands = haar(x) / 2  # the low band is the mean of its pixels: in [-1, 1] at each level
            x = bands[:, 0]
            extractor = self.extractors[level % len(self.extractors)]
            feature = extractor(rearrange(bands, "b k c h w -> b (k c) h w"))
            features.append(F.avg_pool2d(feature, 2 ** (self.levels - 1 - level)))
        h: Tensor = self.aggregator(torch.cat(features, dim=1))
        return h

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for network in self.modules():
            if isinstance(network, UNet):
                yield from (*network.down, *network.mid, *network.up)


class LiteVAEConfig(BackboneSettings):
    """Wavelet encoder of U-Nets, decoder of latent diffusion (LiteVAE, arXiv 2405.14477); the defaults are LiteVAE-B.

    ``self_modulated`` takes every group norm out of the decoder, and the attention that needs one, and makes its
    residual blocks' convolutions self-modulated.
    """

    kind: Literal["litevae"] = "litevae"
    latent_channels: int = Field(12, ge=1)
    levels: int = Field(3, ge=1, description="of wavelets; each halves the sides")
    extractor_widths: tuple[int, ...] = Field((32, 64, 96), min_length=1)
    aggregator_widths: tuple[int, ...] = Field((32, 64, 96), min_length=1)
    blocks_per_width: int = Field(2, ge=1)
    share_extractor: bool = False
    decoder_widths: tuple[int, ...] = (128, 256, 512, 512)
    decoder_blocks: int = Field(2, ge=1, description="a level has one more than this, as in latent diffusion")
    norm_groups: int = Field(32, ge=1, description="of the decoder")
    self_modulated: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "LiteVAEConfig":
        if len(self.decoder_widths) != self.levels + 1:
            raise ValueError(f"decoder_widths needs {self.levels + 1} entries for {self.levels} levels")
        if any(width < 1 for width in (*self.extractor_widths, *self.aggregator_widths)):
            raise ValueError("extractor_widths and aggregator_widths must be positive")
        for width in self.decoder_widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2**self.levels)

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer, alone in touching the latent's channels."""
        return "aggregator.conv_out", "conv_in"

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(
            out_channels=out_channels,
            levels=self.levels,
            extractor_widths=self.extractor_widths,
            aggregator_widths=self.aggregator_widths,
            blocks_per_width=self.blocks_per_width,
            share_extractor=self.share_extractor,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        norm: MakeNorm = partial(GroupNorm, groups=self.norm_groups)
        conv: MakeConv = Conv3x3
        if self.self_modulated:
            norm, conv = _no_norm, SelfModulatedConv
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.decoder_widths,
            blocks_per_level=self.decoder_blocks,
            norm=norm,
            mid_attention=not self.self_modulated,
            post_quant_conv=False,
            conv=conv,
        )


def _no_norm(channels: int) -> Unchanged:
    return Unchanged()
