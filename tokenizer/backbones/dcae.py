"""The deep compression autoencoder: residual shortcuts through pixel (un)shuffling, linear attention below.

Source: Chen et al. 2024, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models,
arXiv 2410.10733 (section 3.1: residual autoencoding); Cai et al. 2022, EfficientViT, arXiv 2205.14756 (attention).

Letters: B batch, C channels, H W rows and columns, N = H W positions, G heads, D channels a head.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange, reduce
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core.config import Config
from tokenizer.layers.norms import RMSNorm2d
from tokenizer.layers.precision import full_precision

Block = Literal["res", "efficientvit"]
Norm = Literal["rms", "batch"]
Activation = Literal["silu", "relu"]

_NORMS: dict[Norm, type[nn.Module]] = {"rms": RMSNorm2d, "batch": nn.BatchNorm2d}
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}


class ResBlock(nn.Module):
    """conv, activation, conv, norm, plus identity."""

    def __init__(self, channels: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = _ACTIVATIONS[activation]()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = _NORMS[norm](channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h: Tensor = self.norm(self.conv2(self.activation(self.conv1(x))))
        return x + h


class LinearAttention(nn.Module):
    """Attention with the kernel ReLU(q) . ReLU(k), whose cost is linear in the positions.

    ``qkv`` gives each head its q, k and v side by side: channels [q of head 0, k of head 0, v of head 0, q of
    head 1, ...]. The ratio of sums is taken in float32: half precision overflows it.
    """

    def __init__(self, channels: int, head_dim: int, eps: float = 1e-15) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.eps = eps
        inner = channels // head_dim * head_dim
        self.qkv = nn.Conv2d(channels, 3 * inner, 1, bias=False)
        self.proj = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = RMSNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape, residual included."""
        height, width = x.shape[-2:]
        qkv = rearrange(self.qkv(x), "b (g d) h w -> b g d (h w)", d=3 * self.head_dim)
        with full_precision(x.device):
            q, k, v = qkv.float().chunk(3, dim=2)  # (B, G, D, N) each
            q, k = F.relu(q), F.relu(k)
            attend = self._linear if height * width > self.head_dim else self._quadratic
            out: Tensor = attend(q, k, v)
        h = rearrange(out.to(qkv.dtype), "b g d (h w) -> b (g d) h w", h=height)
        out = self.norm(self.proj(h))
        return out + x

    def _linear(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 0, 0, 1), value=1.0)  # (B, G, D + 1, N): the row of ones becomes the denominator
        out = torch.matmul(torch.matmul(v, k.transpose(-1, -2)), q)
        return out[:, :, :-1] / (out[:, :, -1:] + self.eps)

    def _quadratic(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = torch.matmul(k.transpose(-1, -2), q)  # (B, G, N, N)
        return torch.matmul(v, weights / (weights.sum(dim=2, keepdim=True) + self.eps))


class GatedConvFeedForward(nn.Module):
    """Inverted bottleneck with a depthwise convolution and a SiLU gate (GLUMBConv), residual included.

    Source: Xie et al. 2024, SANA, arXiv 2410.10629, section 2.2 (Mix-FFN).
    """

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = channels * expansion
        self.inverted = nn.Conv2d(channels, 2 * hidden, 1)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.point = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm = RMSNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h, gate = self.depthwise(F.silu(self.inverted(x))).chunk(2, dim=1)
        out: Tensor = self.norm(self.point(h * F.silu(gate)))
        return out + x


class EfficientViTBlock(nn.Module):
    """Linear attention for context, then a gated convolution for detail."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.attention = LinearAttention(channels, head_dim)
        self.feed_forward = GatedConvFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h: Tensor = self.feed_forward(self.attention(x))
        return h


class Downsample(nn.Module):
    """Halve the sides: conv and pixel unshuffle, plus a shortcut that averages groups of unshuffled channels."""

    def __init__(self, in_channels: int, out_channels: int, shortcut: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels // 4, 3, padding=1)
        self.shortcut = shortcut
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H/2, W/2)."""
        h = F.pixel_unshuffle(self.conv(x), 2)
        if not self.shortcut:
            return h
        return h + mean_groups(F.pixel_unshuffle(x, 2), self.out_channels)


class Upsample(nn.Module):
    """Double the sides: conv and pixel shuffle, plus a shortcut that repeats channels and shuffles them."""

    def __init__(self, in_channels: int, out_channels: int, shortcut: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1)
        self.shortcut = shortcut
        self.repeats = 4 * out_channels // in_channels

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', 2H, 2W)."""
        h = F.pixel_shuffle(self.conv(x), 2)
        if not self.shortcut:
            return h
        return h + F.pixel_shuffle(x.repeat_interleave(self.repeats, dim=1), 2)


def mean_groups(x: Tensor, channels: int) -> Tensor:
    """Average contiguous groups of channels: x (B, C, H, W) -> (B, channels, H, W)."""
    return reduce(x, "b (c g) h w -> b c h w", "mean", c=channels)


class Encoder(nn.Module):
    """Pixels to features, from ``project_in`` through the stages to ``project_out``."""

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Sequence[Block],
        head_dim: int,
        out_shortcut: bool,
    ) -> None:
        super().__init__()
        self.project_in: nn.Module
        if depths[0] > 0:
            self.project_in = nn.Conv2d(3, widths[0], 3, padding=1)
        else:  # the stem is the first downsampling
            self.project_in = Downsample(3, widths[1], shortcut=False)
        self.stages = nn.ModuleList()
        for index, (width, depth, block) in enumerate(zip(widths, depths, blocks, strict=True)):
            stage = [_block(block, width, head_dim, "rms", "silu") for _ in range(depth)]
            if depth > 0 and index + 1 < len(widths):
                stage.append(Downsample(width, widths[index + 1]))
            self.stages.append(nn.Sequential(*stage))
        self.project_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.out_shortcut = out_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        x = self.project_in(x)
        for stage in self.stages:
            x = stage(x)
        h: Tensor = self.project_out(x)
        return h + mean_groups(x, h.shape[1]) if self.out_shortcut else h


class Head(nn.Module):
    """Features to pixels: norm, activation, and a convolution that also makes the last doubling if asked."""

    def __init__(self, width: int, activation: Activation, upsample: bool) -> None:
        super().__init__()
        self.norm = RMSNorm2d(width)
        self.activation = _ACTIVATIONS[activation]()
        self.conv = Upsample(width, 3, shortcut=False) if upsample else nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, 3, H, W) or twice the sides."""
        h: Tensor = self.conv(self.activation(self.norm(x)))
        return h


class Decoder(nn.Module):
    """Latents to pixels, ``stages`` numbered as in the encoder and walked backwards; ``project_out`` is the head."""

    def __init__(
        self,
        latent_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        blocks: Sequence[Block],
        norms: Sequence[Norm],
        activations: Sequence[Activation],
        head_dim: int,
        in_shortcut: bool,
        out_activation: Activation,
    ) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.in_repeats = widths[-1] // latent_channels if in_shortcut else 0
        self.stages = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage: list[nn.Module] = []
            if depth > 0 and index + 1 < len(widths):
                stage.append(Upsample(widths[index + 1], width))
            for _ in range(depth):
                stage.append(_block(blocks[index], width, head_dim, norms[index], activations[index]))
            self.stages.append(nn.Sequential(*stage))
        stem = depths[0] == 0
        self.project_out = Head(widths[1] if stem else widths[0], out_activation, upsample=stem)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        x: Tensor = self.project_in(z)
        if self.in_repeats:
            x = x + z.repeat_interleave(self.in_repeats, dim=1)
        for stage in reversed(self.stages):
            x = stage(x)
        x_hat: Tensor = self.project_out(x)
        return x_hat


def _block(kind: Block, channels: int, head_dim: int, norm: Norm, activation: Activation) -> nn.Module:
    if kind == "res":
        return ResBlock(channels, norm, activation)
    return EfficientViTBlock(channels, head_dim)


class DCAEConfig(Config):
    """Deep compression autoencoder (DC-AE, arXiv 2410.10733); the defaults are f32c32 as published.

    Stages run from full resolution to the latent; a depth of 0 for the first one makes the stem downsample.
    """

    kind: Literal["dcae"] = "dcae"
    latent_channels: int = 32
    widths: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    encoder_depths: tuple[int, ...] = (0, 4, 8, 2, 2, 2)
    decoder_depths: tuple[int, ...] = (0, 5, 10, 2, 2, 2)
    blocks: tuple[Block, ...] = ("res", "res", "res", "efficientvit", "efficientvit", "efficientvit")
    decoder_norms: tuple[Norm, ...] = ("batch", "batch", "batch", "rms", "rms", "rms")
    decoder_activations: tuple[Activation, ...] = ("relu", "relu", "relu", "silu", "silu", "silu")
    head_dim: int = 32
    encoder_out_shortcut: bool = True
    decoder_in_shortcut: bool = True
    out_activation: Activation = "relu"

    @model_validator(mode="after")
    def _consistent(self) -> "DCAEConfig":
        stages = len(self.widths)
        for name in ("encoder_depths", "decoder_depths", "blocks", "decoder_norms", "decoder_activations"):
            if len(getattr(self, name)) != stages:
                raise ValueError(f"{name} needs one entry a stage: {stages}, as widths has")
        for depths in (self.encoder_depths, self.decoder_depths):
            if any(depth < 1 for depth in depths[1:]) or depths[0] < 0:
                raise ValueError("only the first stage may have depth 0")
        if (self.encoder_depths[0] == 0) != (self.decoder_depths[0] == 0):
            raise ValueError("encoder and decoder must both have a downsampling stem, or neither")
        if stages < 2 or any(width < 1 or width % 4 for width in self.widths[1:]):
            raise ValueError("at least two stages, widths multiples of 4")
        first = 1 if self.encoder_depths[0] == 0 else 0
        for wide, narrow in zip(self.widths[first + 1 :], self.widths[first:], strict=False):
            if 4 * narrow % wide:
                raise ValueError(
                    f"the shortcut from width {narrow} to {wide} needs 4 * {narrow} % {wide} == 0"
                )
        shortcut = self.encoder_out_shortcut or self.decoder_in_shortcut
        if shortcut and self.widths[-1] % self.latent_channels:
            raise ValueError(
                f"latent_channels must divide the last width {self.widths[-1]} for the shortcuts"
            )
        for block, width in zip(self.blocks, self.widths, strict=True):
            if block == "efficientvit" and width < self.head_dim:
                raise ValueError(
                    f"an efficientvit stage of width {width} has no head of {self.head_dim} channels"
                )
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels.

        Raises:
            ValueError: if the out shortcut cannot average to that number of channels.
        """
        if self.encoder_out_shortcut and self.widths[-1] % out_channels:
            raise ValueError(
                f"the bottleneck's {out_channels} channels must divide the last width {self.widths[-1]}"
            )
        return Encoder(
            out_channels=out_channels,
            widths=self.widths,
            depths=self.encoder_depths,
            blocks=self.blocks,
            head_dim=self.head_dim,
            out_shortcut=self.encoder_out_shortcut,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            depths=self.decoder_depths,
            blocks=self.blocks,
            norms=self.decoder_norms,
            activations=self.decoder_activations,
            head_dim=self.head_dim,
            in_shortcut=self.decoder_in_shortcut,
            out_activation=self.out_activation,
        )
