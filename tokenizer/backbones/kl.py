"""The autoencoder of latent diffusion: residual blocks with group norm, one attention in the middle.

Source: Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752,
section 3.1 (perceptual image compression).

Letters: B batch, C channels, H W rows and columns, N = H W positions, f the spatial factor.
"""

from collections.abc import Sequence
from typing import Literal

from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core.config import Config


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """norm, silu, conv, twice, plus identity (a 1x1 convolution where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.shortcut(x) + h
        return out


class Attention(nn.Module):
    """Softmax attention with one head over all positions, residual included."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (three c) h w -> three b 1 (h w) c", three=3)
        h = F.scaled_dot_product_attention(q, k, v)  # (B, 1, N, C)
        out: Tensor = x + self.proj(rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[-2]))
        return out


class Downsample(nn.Module):
    """Halve the sides with a strided convolution; the padding is on the right and the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Upsample(nn.Module):
    """Double the sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h


class Middle(nn.Sequential):
    """Block, attention (or none), block, at the lowest resolution."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.block1 = ResBlock(channels, channels, groups)
        self.attention = Attention(channels, groups) if attention else nn.Identity()
        self.block2 = ResBlock(channels, channels, groups)


class Level(nn.Sequential):
    """The blocks of one resolution, numbered, then ``resample`` where the sides change."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, groups: int, resample: nn.Module | None
    ) -> None:
        widths = [in_channels] + [out_channels] * num_blocks
        super().__init__(*(ResBlock(*pair, groups) for pair in zip(widths[:-1], widths[1:], strict=True)))
        if resample is not None:
            self.resample = resample


class Encoder(nn.Module):
    """Pixels to moments; ``quant_conv``, the last module, is the identity where there is none."""

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        groups: int,
        mid_attention: bool,
        quant_conv: bool,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.Sequential()
        for index, width in enumerate(widths):
            resample = Downsample(width) if index + 1 < len(widths) else None
            self.levels.append(Level(widths[max(index - 1, 0)], width, blocks_per_level, groups, resample))
        self.mid = Middle(widths[-1], groups, mid_attention)
        self.norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.quant_conv = nn.Conv2d(out_channels, out_channels, 1) if quant_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        h = self.mid(self.levels(self.conv_in(x)))
        moments: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(h))))
        return moments


class Decoder(nn.Module):
    """Latents to pixels; ``post_quant_conv``, the first module, is the identity where there is none.

    ``levels`` are numbered as they are walked, from the lowest resolution up, and hold one block more each
    than the encoder's.
    """

    def __init__(
        self,
        latent_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        groups: int,
        mid_attention: bool,
        post_quant_conv: bool,
    ) -> None:
        super().__init__()
        rising = list(reversed(widths))
        self.post_quant_conv = (
            nn.Conv2d(latent_channels, latent_channels, 1) if post_quant_conv else nn.Identity()
        )
        self.conv_in = nn.Conv2d(latent_channels, rising[0], 3, padding=1)
        self.mid = Middle(rising[0], groups, mid_attention)
        self.levels = nn.Sequential()
        for index, width in enumerate(rising):
            resample = Upsample(width) if index + 1 < len(rising) else None
            self.levels.append(
                Level(rising[max(index - 1, 0)], width, blocks_per_level + 1, groups, resample)
            )
        self.norm_out = _norm(rising[-1], groups)
        self.conv_out = nn.Conv2d(rising[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        h = self.levels(self.mid(self.conv_in(self.post_quant_conv(z))))
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x_hat


class KLBackboneConfig(Config):
    """Autoencoder of latent diffusion (LDM, arXiv 2112.10752); the defaults are f8c4 as published."""

    kind: Literal["kl"] = "kl"
    latent_channels: int = Field(4, ge=1)
    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)
    mid_attention: bool = True
    quant_conv: bool = True
    post_quant_conv: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "KLBackboneConfig":
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(
            out_channels=out_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=self.mid_attention,
            quant_conv=self.quant_conv,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=self.mid_attention,
            post_quant_conv=self.post_quant_conv,
        )
