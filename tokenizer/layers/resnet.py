"""Encoder and decoder of the convolutional families (KL, VQGAN, MoVQ, LiteVAE's decoder), and their blocks.

Every block takes the features x and the latent z that a decoder is reading; only norms that are conditioned on
the latent look at it. Norms and 3x3 convolutions are given as functions of their channels.

Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis, arXiv 2012.09841;
Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752 (section 3.1).

Letters: B batch, C channels, H W rows and columns, N = H W positions, f the spatial factor.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.precision import full_precision

MakeNorm = Callable[[int], nn.Module]
MakeConv = Callable[[int, int], nn.Module]


class GroupNorm(nn.GroupNorm):
    """Group norm with the eps of this family; the latent is not looked at."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(groups, channels, eps=1e-6)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        return super().forward(x)


class SpatialNorm(nn.Module):
    """Group norm whose scale and shift are read from the latent at each position.

    Source: Zheng et al. 2022, MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation,
    arXiv 2209.09002 (spatially conditional normalization).
    """

    def __init__(self, channels: int, groups: int, latent_channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels, groups)
        self.scale = nn.Conv2d(latent_channels, channels, 1)
        self.shift = nn.Conv2d(latent_channels, channels, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, C, H, W), z (B, C', H', W') enlarged to it by its nearest values -> the shape of x."""
        z = F.interpolate(z, size=x.shape[-2:], mode="nearest")
        out: Tensor = self.norm(x) * self.scale(z) + self.shift(z)
        return out


class Unchanged(nn.Identity):
    """In the place of a norm or an attention that is left out."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x -> x."""
        return x


class Conv3x3(nn.Conv2d):
    """The plain convolution: 3x3, same size, with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)


class SelfModulatedConv(nn.Module):
    """3x3 convolution that scales its input channels as learned and divides out the norm of each output's weights.

    It takes the place of convolution and group norm, which loses how large features are relative to each other.

    Source: Sadat et al. 2024, LiteVAE, arXiv 2405.14477, equation 3 and appendix G (with gain and bias).
    """

    def __init__(self, in_channels: int, out_channels: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.conv = Conv3x3(in_channels, out_channels)
        self.scales = nn.Parameter(torch.ones(in_channels))
        self.gain = nn.Parameter(torch.ones(1))
        self.eps = eps

    def weight(self) -> Tensor:
        """The kernel (C', C, 3, 3) after modulation, float32: each output's weights have the norm ``gain``."""
        with full_precision(self.gain.device):
            modulated = self.conv.weight.float() * self.scales.float()[None, :, None, None]
            norm = (modulated.square().sum(dim=(1, 2, 3), keepdim=True) + self.eps).sqrt()
            return modulated / norm * self.gain.float()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W)."""
        return F.conv2d(x, self.weight().to(x.dtype), self.conv.bias, padding=1)


class ResBlock(nn.Module):
    """norm, silu, conv, twice, plus identity (a 1x1 convolution where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, norm: MakeNorm, conv: MakeConv = Conv3x3) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, out_channels)
        self.norm2 = norm(out_channels)
        self.conv2 = conv(out_channels, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x, z)))
        h = self.conv2(F.silu(self.norm2(h, z)))
        out: Tensor = self.shortcut(x) + h
        return out


class Attention(nn.Module):
    """Softmax attention with one head over all positions, residual included."""

    def __init__(self, channels: int, norm: MakeNorm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        q, k, v = rearrange(self.qkv(self.norm(x, z)), "b (three c) h w -> three b 1 (h w) c", three=3)
        h = F.scaled_dot_product_attention(q, k, v)  # (B, 1, N, C)
        out: Tensor = x + self.proj(rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[-2]))
        return out


class Downsample(nn.Module):
    """Halve the sides with a strided convolution; the padding is on the right and the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2)."""
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Upsample(nn.Module):
    """Double the sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2H, 2W)."""
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h


class Chain(nn.Sequential):
    """Modules one after the other that all are given the latent too."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> what the last module makes of it."""
        for module in self:
            x = module(x, z)
        return x


class Middle(Chain):
    """Block, attention (or none), block, at the lowest resolution."""

    def __init__(self, channels: int, norm: MakeNorm, attention: bool, conv: MakeConv = Conv3x3) -> None:
        super().__init__()
        self.block1 = ResBlock(channels, channels, norm, conv)
        self.attention = Attention(channels, norm) if attention else Unchanged()
        self.block2 = ResBlock(channels, channels, norm, conv)


class Level(Chain):
    """The blocks of one resolution, numbered, each followed by ``attention<number>`` where that is asked for, then
    ``resample`` where the sides change.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        norm: MakeNorm,
        resample: nn.Module | None,
        attention: bool = False,
        conv: MakeConv = Conv3x3,
    ) -> None:
        super().__init__()
        for index in range(num_blocks):
            width = out_channels if index else in_channels
            self.add_module(str(index), ResBlock(width, out_channels, norm, conv))
            if attention:
                self.add_module(f"attention{index}", Attention(out_channels, norm))
        if resample is not None:
            self.resample = resample


class Encoder(nn.Module):
    """Pixels to features; ``quant_conv``, the last module, is the identity where there is none.

    Args:
        out_channels: C_h.
        widths: channels of each resolution, from the pixels down.
        blocks_per_level: residual blocks of each resolution.
        groups: of the norms.
        mid_attention: attention in the middle.
        quant_conv: a 1x1 convolution at the end.
        attention_levels: positions in ``widths`` where attention follows every block.
        inner_channels: what comes before ``quant_conv``; by default C_h.
    """

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        groups: int,
        mid_attention: bool = True,
        quant_conv: bool = True,
        attention_levels: Collection[int] = (),
        inner_channels: int | None = None,
    ) -> None:
        super().__init__()
        norm = partial(GroupNorm, groups=groups)
        inner = out_channels if inner_channels is None else inner_channels
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = Chain()
        for index, width in enumerate(widths):
            resample = Downsample(width) if index + 1 < len(widths) else None
            before, attention = widths[max(index - 1, 0)], index in attention_levels
            self.levels.append(Level(before, width, blocks_per_level, norm, resample, attention))
        self.mid = Middle(widths[-1], norm, mid_attention)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], inner, 3, padding=1)
        self.quant_conv = nn.Conv2d(inner, out_channels, 1) if quant_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        h = self.mid(self.levels(self.conv_in(x)))
        out: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(h))))
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (*self.levels, self.mid):
            yield from level.children()


class Decoder(nn.Module):
    """Latents to pixels; ``post_quant_conv``, the first module, is the identity where there is none.

    ``levels`` are numbered as they are walked, from the lowest resolution up, and hold one block more each
    than the encoder's.

    Args:
        latent_channels: C, of the latent z.
        widths: channels of each resolution, from the pixels down, as the encoder's.
        blocks_per_level: as the encoder's.
        norm: of all blocks and of the end.
        mid_attention: attention in the middle.
        post_quant_conv: a 1x1 convolution at the start.
        attention_levels: positions in ``widths`` where attention follows every block.
        inner_channels: what comes after ``post_quant_conv``; by default C.
        conv: of the residual blocks.
    """

    def __init__(
        self,
        latent_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        norm: MakeNorm,
        mid_attention: bool = True,
        post_quant_conv: bool = True,
        attention_levels: Collection[int] = (),
        inner_channels: int | None = None,
        conv: MakeConv = Conv3x3,
    ) -> None:
        super().__init__()
        inner = latent_channels if inner_channels is None else inner_channels
        self.post_quant_conv = nn.Conv2d(latent_channels, inner, 1) if post_quant_conv else nn.Identity()
        self.conv_in = nn.Conv2d(inner, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], norm, mid_attention, conv)
        self.levels = Chain()
        for index in reversed(range(len(widths))):
            resample = Upsample(widths[index]) if index else None
            before, attention = widths[min(index + 1, len(widths) - 1)], index in attention_levels
            level = Level(before, widths[index], blocks_per_level + 1, norm, resample, attention, conv)
            self.levels.append(level)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        h = self.levels(self.mid(self.conv_in(self.post_quant_conv(z)), z), z)
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h, z)))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (self.mid, *self.levels):
            yield from level.children()
