"""The deep compression autoencoder for video: residual shortcuts in space and time, chunks that look ahead inside.

Source: Chen et al. 2025, DC-VideoGen, arXiv 2509.25182 (DC-AE-V: chunk-causal temporal modeling); Chen et al. 2024,
DC-AE, arXiv 2410.10733 (the residual shortcuts).

Letters: B clips, C channels, T frames, H W rows and columns, f t the spatial and temporal factor.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.causal import Cache, ChunkConv3d
from tokenizer.layers.norms import RMSNorm2d
from tokenizer.layers.shuffle import Factors, average, duplicate, from_channels, to_channels
from tokenizer.spec import Timeline


class ResBlock(nn.Module):
    """conv, silu, conv, norm, plus identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ChunkConv3d(channels, channels)
        self.conv2 = ChunkConv3d(channels, channels, bias=False)
        self.norm = RMSNorm2d(channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> the same shape."""
        h: Tensor = self.norm(self.conv2(F.silu(self.conv1(x, cache)), cache))
        return x + h


class Downsample(nn.Module):
    """A convolution at full size whose result moves into channels, plus averages of what came in."""

    def __init__(
        self, in_channels: int, out_channels: int, factors: Factors, *, shortcut: bool = True
    ) -> None:
        super().__init__()
        self.factors = factors
        self.out_channels = out_channels
        self.shortcut = shortcut
        cells = factors[0] * factors[1] ** 2
        self.conv = ChunkConv3d(in_channels, out_channels // cells)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C', T/t, H/s, W/s)."""
        h = to_channels(self.conv(x, cache), self.factors)
        return h + average(x, self.factors, self.out_channels) if self.shortcut else h


class Upsample(nn.Module):
    """A convolution whose channels move into space and time, plus copies of what came in."""

    def __init__(
        self, in_channels: int, out_channels: int, factors: Factors, *, shortcut: bool = True
    ) -> None:
        super().__init__()
        self.factors = factors
        self.out_channels = out_channels
        self.shortcut = shortcut
        self.conv = ChunkConv3d(in_channels, out_channels * factors[0] * factors[1] ** 2)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C', T t, H s, W s)."""
        h = from_channels(self.conv(x, cache), self.factors)
        return h + duplicate(x, self.factors, self.out_channels) if self.shortcut else h


class Encoder(nn.Module):
    """Clips to features: stages of residual blocks, each but the first behind a downsampling.

    Args:
        out_channels: C_h.
        widths: channels of each stage; a first stage without blocks has none of its own.
        depths: residual blocks of each stage.
        factors: between the stages.
    """

    def __init__(
        self, out_channels: int, widths: Sequence[int], depths: Sequence[int], factors: Sequence[Factors]
    ) -> None:
        super().__init__()
        first = 0 if depths[0] else 1
        self.conv_in: nn.Module = (
            ChunkConv3d(3, widths[0]) if depths[0] else Downsample(3, widths[1], factors[0], shortcut=False)
        )
        self.stages = nn.ModuleList()
        for index in range(first, len(widths)):
            stage = nn.ModuleList(ResBlock(widths[index]) for _ in range(depths[index]))
            if index + 1 < len(widths):
                stage.append(Downsample(widths[index], widths[index + 1], factors[index]))
            self.stages.append(stage)
        self.conv_out = ChunkConv3d(widths[-1], out_channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1], T a multiple of t, at most a chunk -> h (B, C_h, T/t, H/f, W/f)."""
        x = self.conv_in(x, cache)
        for module in self.blocks():
            x = module(x, cache)
        h: Tensor = self.conv_out(x, cache)
        return h

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            yield from stage


class Decoder(nn.Module):
    """Latents to clips; ``stages`` are numbered as they are walked, from the smallest up. Arguments: the encoder's."""

    def __init__(
        self, latent_channels: int, widths: Sequence[int], depths: Sequence[int], factors: Sequence[Factors]
    ) -> None:
        super().__init__()
        first = 0 if depths[0] else 1
        self.conv_in = ChunkConv3d(latent_channels, widths[-1])
        self.stages = nn.ModuleList()
        for index in reversed(range(first, len(widths))):
            stage = nn.ModuleList(ResBlock(widths[index]) for _ in range(depths[index]))
            if index > first:
                stage.append(Upsample(widths[index], widths[index - 1], factors[index - 1]))
            self.stages.append(stage)
        self.norm_out = RMSNorm2d(widths[first])
        self.conv_out: nn.Module = (
            ChunkConv3d(widths[0], 3) if depths[0] else Upsample(widths[1], 3, factors[0], shortcut=False)
        )

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z (B, C, T', H', W') -> x_hat (B, 3, t T', f H', f W')."""
        x = self.conv_in(z, cache)
        for module in self.blocks():
            x = module(x, cache)
        x_hat: Tensor = self.conv_out(F.silu(self.norm_out(x)), cache)
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            yield from stage


class DCAEVideoConfig(BackboneSettings):
    """Deep compression for video, chunk-causal (DC-AE-V of DC-VideoGen, arXiv 2509.25182; H3AE, 2504.10567).

    The defaults are f32t4c32. ``factors`` are (frames, rows and columns) between the stages.
    """

    kind: Literal["dcae_video"] = "dcae_video"
    latent_channels: int = Field(32, ge=1)
    widths: tuple[int, ...] = Field((128, 256, 512, 512, 1024, 1024, 1024), min_length=2)
    encoder_depths: tuple[int, ...] = (0, 5, 10, 4, 4, 4, 4)
    decoder_depths: tuple[int, ...] = (0, 5, 10, 4, 4, 4, 4)
    factors: tuple[tuple[int, int], ...] = ((1, 2), (1, 2), (1, 2), (1, 2), (1, 2), (4, 1))
    chunk_frames: int = Field(40, ge=1, description="frames that see one another in both directions")

    @model_validator(mode="after")
    def _consistent(self) -> "DCAEVideoConfig":
        stages = len(self.widths)
        for name, wanted in (("encoder_depths", stages), ("decoder_depths", stages), ("factors", stages - 1)):
            if len(getattr(self, name)) != wanted:
                raise ValueError(f"{name} must have {wanted} entries for {stages} widths")
        for (narrow, wide), (t, s) in zip(pairwise(self.widths), self.factors, strict=True):
            cells = t * s * s
            if wide % cells or (narrow * cells) % wide:
                raise ValueError(
                    f"from width {narrow} to {wide} by {t}x{s}x{s}: the wider must be a multiple of {cells}, and "
                    f"{cells} * {narrow} a multiple of it"
                )
        _ = self.time
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return math.prod(s for _, s in self.factors)

    @property
    def time(self) -> Timeline:
        """Chunks that look ahead inside."""
        factor = math.prod(t for t, _ in self.factors)
        return Timeline(factor, "chunk_causal", self.chunk_frames, first_frame_alone=False)

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(out_channels, self.widths, self.encoder_depths, self.factors)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self.latent_channels, self.widths, self.decoder_depths, self.factors)
