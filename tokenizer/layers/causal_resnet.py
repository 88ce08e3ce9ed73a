"""Encoder and decoder of causal 3D convolutions, whose modules are named as those for pictures in ``resnet.py``.

Convolutions see rows, columns and the past; norms and attention see one frame at a time, so that a clip in pieces
gives what the whole clip gives. Of still frames a video model that was inflated from a picture model
(``tokenizer/inflate.py``) makes what that model makes.

Source: Yu et al. 2023, MAGVIT-v2, arXiv 2310.05737, section 3.2; Yang et al. 2024, CogVideoX, arXiv 2408.06072,
section 2.1.

Letters: B clips, C channels, T frames, H W rows and columns, f t the spatial and temporal factor.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.causal import Cache, CausalConv3d, CausalUpsample
from tokenizer.layers.frames import fold, unfold

MakeNorm = Callable[[int], nn.Module]


class FrameNorm(nn.GroupNorm):
    """Group norm of every frame on its own."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(groups, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> the same shape."""
        return unfold(super().forward(fold(x)), x.shape[0])


class CausalResBlock(nn.Module):
    """norm, silu, causal convolution, twice, plus identity (a 1x1x1 convolution where the width changes).

    Args:
        in_channels: C.
        out_channels: C'.
        norm: from channels; it must not look across time.
        kernel: frames, rows, columns; with one frame every frame is by itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: MakeNorm,
        kernel: tuple[int, int, int] = (3, 3, 3),
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels, kernel)
        self.norm2 = norm(out_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels, kernel)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C', T, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)), cache)
        h = self.conv2(F.silu(self.norm2(h)), cache)
        out: Tensor = self.shortcut(x) + h
        return out


class FrameAttention(nn.Module):
    """Softmax attention with one head over all positions of a frame, residual included."""

    def __init__(self, channels: int, norm: MakeNorm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv3d(channels, 3 * channels, 1)
        self.proj = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> the same shape."""
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (three c) t h w -> three (b t) 1 (h w) c", three=3)
        h = F.scaled_dot_product_attention(q, k, v)
        h = rearrange(h, "(b t) 1 (h w) c -> b c t h w", b=x.shape[0], h=x.shape[-2])
        out: Tensor = x + self.proj(h)
        return out


class Downsample(nn.Module):
    """Halve the sides of frames with a strided convolution, padded on the right and the bottom; with ``time`` halve
    the frames behind the first too, by a causal one.
    """

    def __init__(self, channels: int, *, time: bool) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (1, 3, 3), (1, 2, 2), padding=(0, 1, 0, 1))
        self.time = CausalConv3d(channels, channels, (3, 1, 1), (2, 1, 1)) if time else None

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H/2, W/2)."""
        h: Tensor = self.conv(x, cache)
        return h if self.time is None else self.time(h, cache)


class Upsample(nn.Module):
    """Double the sides: nearest neighbour, then a convolution; with ``time`` double the frames behind the first too,
    each by its copy, then a causal convolution.
    """

    def __init__(self, channels: int, *, time: bool) -> None:
        super().__init__()
        self.repeat = CausalUpsample(2) if time else None
        self.time = CausalConv3d(channels, channels, (3, 1, 1)) if time else None
        self.conv = CausalConv3d(channels, channels, (1, 3, 3))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', 2H, 2W)."""
        if self.repeat is not None and self.time is not None:
            x = self.time(self.repeat(x, cache), cache)
        x = x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
        h: Tensor = self.conv(x, cache)
        return h


class CausalChain(nn.Sequential):
    """Modules one after the other that all are given the cache too."""

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> what the last module makes of it."""
        for module in self:
            x = module(x, cache)
        return x


class Middle(CausalChain):
    """Block, attention over each frame (or none), block, at the lowest resolution."""

    def __init__(self, channels: int, norm: MakeNorm, *, attention: bool) -> None:
        super().__init__()
        self.block1 = CausalResBlock(channels, channels, norm)
        if attention:
            self.attention = FrameAttention(channels, norm)
        self.block2 = CausalResBlock(channels, channels, norm)


class Level(CausalChain):
    """The blocks of one resolution, numbered, then ``resample`` where the sides change."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, norm: MakeNorm, resample: nn.Module | None
    ) -> None:
        super().__init__()
        for index in range(num_blocks):
            width = out_channels if index else in_channels
            self.add_module(str(index), CausalResBlock(width, out_channels, norm))
        if resample is not None:
            self.resample = resample


class CausalEncoder(nn.Module):
    """Clips to features; ``quant_conv``, the last module, is the identity where there is none.

    Args:
        out_channels: C_h.
        widths: channels of each resolution, from the pixels down.
        blocks_per_level: residual blocks of each resolution.
        groups: of the norms.
        time_levels: positions in ``widths`` behind which the frames are halved too; not the last.
        mid_attention: attention in the middle.
        quant_conv: a 1x1x1 convolution at the end.
    """

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        groups: int,
        time_levels: Collection[int],
        *,
        mid_attention: bool = True,
        quant_conv: bool = False,
    ) -> None:
        super().__init__()
        norm = partial(FrameNorm, groups=groups)
        self.conv_in = CausalConv3d(3, widths[0])
        self.levels = CausalChain()
        for index, width in enumerate(widths):
            resample = Downsample(width, time=index in time_levels) if index + 1 < len(widths) else None
            level = Level(widths[max(index - 1, 0)], width, blocks_per_level, norm, resample)
            self.levels.append(level)
        self.mid = Middle(widths[-1], norm, attention=mid_attention)
        self.norm_out = norm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], out_channels)
        self.quant_conv = nn.Conv3d(out_channels, out_channels, 1) if quant_conv else nn.Identity()

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1] -> h (B, C_h, T', H/f, W/f)."""
        h = self.mid(self.levels(self.conv_in(x, cache), cache), cache)
        out: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(h)), cache))
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (*self.levels, self.mid):
            yield from level.children()


class CausalDecoder(nn.Module):
    """Latents to clips; ``post_quant_conv``, the first module, is the identity where there is none.

    ``levels`` are numbered as they are walked, from the lowest resolution up, and hold one block more each than the
    encoder's. The arguments are those of the encoder, ``latent_channels`` C of the latent z.
    """

    def __init__(
        self,
        latent_channels: int,
        widths: Sequence[int],
        blocks_per_level: int,
        groups: int,
        time_levels: Collection[int],
        *,
        mid_attention: bool = True,
        post_quant_conv: bool = False,
    ) -> None:
        super().__init__()
        norm = partial(FrameNorm, groups=groups)
        self.post_quant_conv = (
            nn.Conv3d(latent_channels, latent_channels, 1) if post_quant_conv else nn.Identity()
        )
        self.conv_in = CausalConv3d(latent_channels, widths[-1])
        self.mid = Middle(widths[-1], norm, attention=mid_attention)
        self.levels = CausalChain()
        for index in reversed(range(len(widths))):
            resample = Upsample(widths[index], time=index - 1 in time_levels) if index else None
            before = widths[min(index + 1, len(widths) - 1)]
            self.levels.append(Level(before, widths[index], blocks_per_level + 1, norm, resample))
        self.norm_out = norm(widths[0])
        self.conv_out = CausalConv3d(widths[0], 3)

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z (B, C, T', H', W') -> x_hat (B, 3, T, f H', f W')."""
        h = self.levels(self.mid(self.conv_in(self.post_quant_conv(z), cache), cache), cache)
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(h)), cache)
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for level in (self.mid, *self.levels):
            yield from level.children()
