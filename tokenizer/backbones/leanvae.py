"""Small and fast: wavelet bands in patches, blocks that see their neighbourhood, a latent that is a measurement.

Source: Cheng and Yuan 2025, LeanVAE: An Ultra-Efficient Reconstruction VAE for Video Diffusion Models,
arXiv 2503.14325, section 3 (neighbourhood-aware feed-forward, wavelets, compressed sensing).

Letters: B clips, C channels, T frames, H W rows and columns, D width, T' H' W' of the latent.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.causal import Cache, CausalConv3d, Remembering
from tokenizer.layers.causal_resnet import CausalChain
from tokenizer.layers.norms import ChannelNorm
from tokenizer.layers.shuffle import from_channels, to_channels
from tokenizer.layers.wavelets import frames_haar, frames_inverse_haar, haar3d, inverse_haar3d
from tokenizer.spec import Timeline

PATCH = (2, 4)  # frames, and rows as well as columns, of bands
LOW, HIGH, STILL = 3, 21, 9  # channels of the lowest band, of the others, and of the others of a still frame


class NeighbourhoodBlock(nn.Module):
    """A causal depthwise 3x3x3 convolution, then a gated feed-forward behind a norm; each with its residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 8 * width // 3
        self.neighbourhood = CausalConv3d(width, width, groups=width)
        self.norm = ChannelNorm(width)
        self.inner = nn.Conv3d(width, 2 * inner, 1, bias=False)
        self.outer = nn.Conv3d(inner, width, 1, bias=False)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, D, T', H', W') -> the same shape."""
        x = x + self.neighbourhood(x, cache)
        gate, h = self.inner(self.norm(x)).chunk(2, dim=1)
        out: Tensor = x + self.outer(F.gelu(gate) * h)
        return out


class Bands(nn.Module):
    """Blocks of the lowest band's features and blocks of the others', which do not see each other yet."""

    def __init__(self, low: int, high: int, depth: int) -> None:
        super().__init__()
        self.at = low
        self.low = CausalChain(*(NeighbourhoodBlock(low) for _ in range(depth)))
        self.high = CausalChain(*(NeighbourhoodBlock(high) for _ in range(depth)))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, low + high, T', H', W') -> the same shape."""
        return torch.cat([self.low(x[:, : self.at], cache), self.high(x[:, self.at :], cache)], dim=1)


class Patches(Remembering):
    """The bands of a clip in patches: of the first frame by itself, then of pairs of frames."""

    def forward(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor | None, Tensor | None]:
        """x (B, 3, T, H, W) -> patches of the first frame (B, 12 * 16, 1, H', W') if it is there, and of the others
        (B, 24 * 32, T', H', W') if there are any; the lowest band's come first.
        """
        still = None
        if self.begins(x, cache):
            still = to_channels(frames_haar(x[:, :, :1]), (1, PATCH[1]))
            x = x[:, :, 1:]
        return still, to_channels(haar3d(x), PATCH) if x.shape[2] else None


class Pixels(Remembering):
    """The inverse of ``Patches``."""

    def is_first(self, x: Tensor, cache: Cache | None = None) -> bool:
        """Whether latent frames x begin with a clip's first."""
        return self.begins(x, cache)

    def forward(self, still: Tensor | None, moving: Tensor | None) -> Tensor:
        """Patches as ``Patches`` gives them -> x_hat (B, 3, T, H, W)."""
        parts = []
        if still is not None:
            parts.append(frames_inverse_haar(from_channels(still, (1, PATCH[1]))))
        if moving is not None:
            parts.append(inverse_haar3d(from_channels(moving, PATCH)))
        return torch.cat(parts, dim=2)


class Embed(nn.Module):
    """Patches to features: the lowest band and the others each by their own linear map, of stills and of pairs."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        cells = PATCH[1] ** 2
        self.splits = {"still": LOW * cells, "moving": LOW * cells * PATCH[0]}
        self.still_low, self.still_high = nn.Conv3d(LOW * cells, low, 1), nn.Conv3d(STILL * cells, high, 1)
        cells *= PATCH[0]
        self.low, self.high = nn.Conv3d(LOW * cells, low, 1), nn.Conv3d(HIGH * cells, high, 1)

    def forward(self, still: Tensor | None, moving: Tensor | None) -> Tensor:
        """-> (B, low + high, T', H', W')."""
        parts = []
        if still is not None:
            at = self.splits["still"]
            parts.append(torch.cat([self.still_low(still[:, :at]), self.still_high(still[:, at:])], dim=1))
        if moving is not None:
            at = self.splits["moving"]
            parts.append(torch.cat([self.low(moving[:, :at]), self.high(moving[:, at:])], dim=1))
        return torch.cat(parts, dim=2)


class Unembed(nn.Module):
    """Features to patches, the inverse of ``Embed``'s shapes."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        cells = PATCH[1] ** 2
        self.at = low
        self.still_low, self.still_high = nn.Conv3d(low, LOW * cells, 1), nn.Conv3d(high, STILL * cells, 1)
        cells *= PATCH[0]
        self.low, self.high = nn.Conv3d(low, LOW * cells, 1), nn.Conv3d(high, HIGH * cells, 1)

    def forward(self, h: Tensor, *, first: bool) -> tuple[Tensor | None, Tensor | None]:
        """h (B, low + high, T', H', W'), ``first`` if it begins a clip -> patches as ``Patches`` gives them."""
        still = moving = None
        if first:
            begin = h[:, :, :1]
            still = torch.cat(
                [self.still_low(begin[:, : self.at]), self.still_high(begin[:, self.at :])], dim=1
            )
            h = h[:, :, 1:]
        if h.shape[2]:
            moving = torch.cat([self.low(h[:, : self.at]), self.high(h[:, self.at :])], dim=1)
        return still, moving


class Recovery(nn.Module):
    """What was measured, from fewer measurements, by iterations that were unrolled and learned.

    Each step walks towards what explains the measurement, r = x + step Q (y - P x), and then shrinks it in a domain of
    its own, x = r + back(soft(there(r))). P and Q are learned freely, as in LISTA: the encoder keeps its own.

    Args:
        measured: C, channels of the measurement.
        width: D, of what is recovered.
        steps: iterations.

    Source: Zhang and Ghanem 2018, ISTA-Net, arXiv 1706.07929, equations 4 to 8 (position by position here); Gregor and
    LeCun 2010, Learning Fast Approximations of Sparse Coding (free matrices).
    """

    def __init__(self, measured: int, width: int, steps: int) -> None:
        super().__init__()
        self.measure = nn.Conv3d(width, measured, 1, bias=False)
        self.lift = nn.Conv3d(measured, width, 1, bias=False)
        self.step_sizes = nn.Parameter(torch.full((steps,), 0.5))
        self.thresholds = nn.Parameter(torch.full((steps,), 0.01))
        self.there = nn.ModuleList(_maps(width) for _ in range(steps))
        self.back = nn.ModuleList(_maps(width) for _ in range(steps))

    def forward(self, y: Tensor) -> Tensor:
        """y (B, C, T', H', W') -> x (B, D, T', H', W')."""
        x: Tensor = self.lift(y)
        for size, threshold, there, back in zip(
            self.step_sizes, self.thresholds, self.there, self.back, strict=True
        ):
            r = x + size * self.lift(y - self.measure(x))
            h = there(r)
            x = r + back(h.sign() * F.relu(h.abs() - threshold))
        return x


def _maps(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(width, width, 1), nn.ReLU(), nn.Conv3d(width, width, 1))


class Encoder(nn.Module):
    """Clips to features, which are linear measurements of what the blocks made.

    Args:
        config: widths and depths.
        out_channels: C_h.
    """

    def __init__(self, config: "LeanVAEConfig", out_channels: int) -> None:
        super().__init__()
        width = config.low + config.high
        self.patches = Patches()
        self.embed = Embed(config.low, config.high)
        self.bands = Bands(config.low, config.high, config.band_depth)
        self.body = CausalChain(*(NeighbourhoodBlock(width) for _ in range(config.depth)))
        self.norm_out = ChannelNorm(width)
        self.measure = nn.Conv3d(width, out_channels, 1, bias=False)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1] -> h (B, C_h, T', H', W')."""
        h = self.body(self.bands(self.embed(*self.patches(x, cache)), cache), cache)
        out: Tensor = self.measure(self.norm_out(h))
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield self.bands
        yield from self.body


class Decoder(nn.Module):
    """Measurements to clips."""

    def __init__(self, config: "LeanVAEConfig") -> None:
        super().__init__()
        width = config.low + config.high
        self.recovery = Recovery(config.latent_channels, width, config.recovery_steps)
        self.body = CausalChain(*(NeighbourhoodBlock(width) for _ in range(config.depth)))
        self.bands = Bands(config.low, config.high, config.band_depth)
        self.norm_out = ChannelNorm(width)
        self.unembed = Unembed(config.low, config.high)
        self.pixels = Pixels()

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W)."""
        h = self.bands(self.body(self.recovery(z), cache), cache)
        first = self.pixels.is_first(z, cache)
        x_hat: Tensor = self.pixels(*self.unembed(self.norm_out(h), first=first))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield self.recovery
        yield from self.body
        yield self.bands


class LeanVAEConfig(BackboneSettings):
    """Wavelet patches, neighbourhood blocks and compressed sensing, 4x8x8 (LeanVAE, arXiv 2503.14325)."""

    kind: Literal["leanvae"] = "leanvae"
    latent_channels: int = Field(4, ge=1)
    low: int = Field(128, ge=1, description="features of the lowest band")
    high: int = Field(384, ge=1, description="features of the other bands")
    band_depth: int = Field(2, ge=1, description="blocks of bands apart, in both networks")
    depth: int = Field(4, ge=1, description="blocks of all bands together, in both networks")
    recovery_steps: int = Field(2, ge=1, description="unrolled iterations at the decoder's beginning")

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return 2 * PATCH[1]

    @property
    def time(self) -> Timeline:
        """Causal, the first frame alone."""
        return Timeline(factor=2 * PATCH[0])

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(self, out_channels)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self)
