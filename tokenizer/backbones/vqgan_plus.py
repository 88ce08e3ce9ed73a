"""MaskBit's modernised VQGAN: no attention, the same number of blocks on both sides, tokens straight from 1x1.

The layout is that of the released tokenizers: convolutions of residual blocks have no bias, and where a block
changes the width, what is added to its output is a 1x1 convolution of that output, not of its input.

Source: Weber et al. 2024, MaskBit: Embedding-free Image Generation via Bit Tokens, arXiv 2409.16211
(VQGAN+), and its released networks.

Letters: B batch, C channels, H W rows and columns, f the spatial factor.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Downsample, GroupNorm, Upsample


class ResBlock(nn.Module):
    """norm, silu, conv without bias, twice, plus the input, or ``mix`` of the output where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = GroupNorm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.mix: nn.Module | None = None
        if in_channels != out_channels:
            self.mix = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = h + (x if self.mix is None else self.mix(h))
        return out


class Stage(nn.Sequential):
    """The blocks of one resolution, numbered, then ``resample`` where the sides change."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, groups: int, resample: nn.Module | None
    ) -> None:
        widths = [in_channels] + [out_channels] * num_blocks
        super().__init__(*(ResBlock(*pair, groups) for pair in zip(widths[:-1], widths[1:], strict=True)))
        if resample is not None:
            self.resample = resample


class Encoder(nn.Module):
    """Pixels to what is quantised."""

    def __init__(self, out_channels: int, widths: Sequence[int], blocks_per_level: int, groups: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        for index, width in enumerate(widths):
            resample = Downsample(width) if index + 1 < len(widths) else None
            self.stages.append(Stage(widths[max(index - 1, 0)], width, blocks_per_level, groups, resample))
        self.mid = Stage(widths[-1], widths[-1], blocks_per_level, groups, None)
        self.norm_out = GroupNorm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        h = self.mid(self.stages(self.conv_in(x)))
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in (*self.stages, self.mid):
            yield from stage.children()


class Decoder(nn.Module):
    """Codes to pixels; ``stages`` are numbered as they are walked, from the lowest resolution up."""

    def __init__(
        self, latent_channels: int, widths: Sequence[int], blocks_per_level: int, groups: int
    ) -> None:
        super().__init__()
        rising = list(reversed(widths))
        self.conv_in = nn.Conv2d(latent_channels, rising[0], 3, padding=1)
        self.mid = Stage(rising[0], rising[0], blocks_per_level, groups, None)
        self.stages = nn.Sequential()
        for index, width in enumerate(rising):
            resample = Upsample(width) if index + 1 < len(rising) else None
            self.stages.append(Stage(rising[max(index - 1, 0)], width, blocks_per_level, groups, resample))
        self.norm_out = GroupNorm(rising[-1], groups)
        self.conv_out = nn.Conv2d(rising[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        h = self.stages(self.mid(self.conv_in(z)))
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in (self.mid, *self.stages):
            yield from stage.children()


class VQGANPlusConfig(BackboneSettings):
    """MaskBit's modernised VQGAN (VQGAN+, arXiv 2409.16211); the defaults are its 12-bit f16 tokenizer."""

    kind: Literal["vqgan_plus"] = "vqgan_plus"
    latent_channels: int = Field(12, ge=1)
    widths: tuple[int, ...] = Field((128, 128, 256, 256, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "VQGANPlusConfig":
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer, alone in touching the latent's channels."""
        return "conv_out", "conv_in"

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(out_channels, self.widths, self.blocks_per_level, self.norm_groups)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self.latent_channels, self.widths, self.blocks_per_level, self.norm_groups)
