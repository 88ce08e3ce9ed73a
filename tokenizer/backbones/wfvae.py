"""Wavelets through the whole network: low bands flow beside a light backbone and are added up again at the end.

Source: Li et al. 2024, WF-VAE: Enhancing Video VAE by Wavelet-Driven Energy Flow for Latent Video Diffusion Model,
arXiv 2411.17459, section 3.1 (energy flow) and table 1 (sizes).

Letters: B clips, C channels, T frames, H W rows and columns, T' H' W' of the latent: 4x8x8 as few.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.causal import Cache, CausalConv3d, CausalHaar, CausalInverseHaar, CausalUpsample
from tokenizer.layers.causal_resnet import CausalChain, CausalResBlock, FrameAttention
from tokenizer.layers.norms import ChannelNorm
from tokenizer.layers.wavelets import frames_haar, frames_inverse_haar
from tokenizer.spec import Timeline

FRAME = (1, 3, 3)


class Taken(nn.Identity):
    """Where a loss can take the bands of the flow: its output is its input."""


class Resample(nn.Module):
    """Halve or double the sides, and with ``time`` the frames behind the first too, by a causal convolution."""

    def __init__(self, channels: int, *, up: bool, time: bool) -> None:
        super().__init__()
        self.up = up
        if up:
            self.repeat = CausalUpsample(2) if time else None
            self.conv = CausalConv3d(channels, channels, (3, 3, 3) if time else FRAME)
        else:
            kernel, stride = ((3, 3, 3), (2, 2, 2)) if time else (FRAME, (1, 2, 2))
            self.conv = CausalConv3d(channels, channels, kernel, stride, padding=(0, 1, 0, 1))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H/2, W/2), or (B, C, T', 2H, 2W)."""
        if self.up:
            x = x if self.repeat is None else self.repeat(x, cache)
            x = x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
        h: Tensor = self.conv(x, cache)
        return h


def chain(*modules: nn.Module) -> CausalChain:
    """Modules one after the other."""
    return CausalChain(*modules)


class Encoder(nn.Module):
    """Clips to features.

    Args:
        out_channels: C_h.
        width: of the first stage; the next are twice and four times as wide.
        flow: channels that each low band is lifted to.
        blocks: residual blocks of each of the first two stages.
    """

    def __init__(self, out_channels: int, width: int, flow: int, blocks: int) -> None:
        super().__init__()
        self.haar_in, self.haar_2 = CausalHaar(), CausalHaar()
        self.bands_1, self.bands_2 = Taken(), Taken()
        self.conv_in = CausalConv3d(24, width, FRAME)
        self.down1 = chain(
            *(CausalResBlock(width, width, ChannelNorm, FRAME) for _ in range(blocks)),
            Resample(width, up=False, time=False),
        )
        self.lift_1, self.lift_2 = CausalConv3d(12, flow, FRAME), CausalConv3d(24, flow, FRAME)
        wide = 2 * width
        self.down2 = chain(
            CausalConv3d(width + flow, wide),
            *(CausalResBlock(wide, wide, ChannelNorm) for _ in range(blocks)),
            Resample(wide, up=False, time=True),
        )
        self.mid = chain(
            CausalResBlock(wide + flow, 2 * wide, ChannelNorm),
            FrameAttention(2 * wide, ChannelNorm),
            CausalResBlock(2 * wide, 2 * wide, ChannelNorm),
        )
        self.norm_out = ChannelNorm(2 * wide)
        self.conv_out = CausalConv3d(2 * wide, out_channels)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1] -> h (B, C_h, T', H', W')."""
        bands = self.haar_in(x, cache)
        bands_1 = self.bands_1(frames_haar(bands[:, :3]))
        bands_2 = self.bands_2(self.haar_2(bands_1[:, :3], cache))
        h = self.down1(self.conv_in(bands, cache), cache)
        h = self.down2(torch.cat([h, self.lift_1(bands_1, cache)], dim=1), cache)
        h = self.mid(torch.cat([h, self.lift_2(bands_2, cache)], dim=1), cache)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)), cache)
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in (self.down1, self.down2, self.mid):
            yield from stage


class Decoder(nn.Module):
    """Latents to clips: each stage gives off the channels that become its level's bands.

    Args:
        latent_channels: C.
        width: as the encoder's; the first two stages here are four times as wide.
        flow: channels that bands are read from.
        blocks: residual blocks of the last two stages.
    """

    def __init__(self, latent_channels: int, width: int, flow: int, blocks: int) -> None:
        super().__init__()
        wide = 4 * width
        self.flow = flow
        self.haar_out, self.haar_2 = CausalInverseHaar(), CausalInverseHaar()
        self.bands_1, self.bands_2 = Taken(), Taken()
        self.conv_in = CausalConv3d(latent_channels, wide)
        self.mid = chain(
            CausalResBlock(wide, wide, ChannelNorm),
            FrameAttention(wide, ChannelNorm),
            CausalResBlock(wide, wide + flow, ChannelNorm),
        )
        self.up2 = chain(
            *(CausalResBlock(wide, wide, ChannelNorm) for _ in range(blocks)),
            Resample(wide, up=True, time=True),
            CausalResBlock(wide, wide + flow, ChannelNorm),
        )
        half = wide // 2
        self.up1 = chain(
            *(CausalResBlock(wide if n == 0 else half, half, ChannelNorm) for n in range(blocks)),
            Resample(half, up=True, time=False),
            CausalResBlock(half, half, ChannelNorm),
        )
        self.layer = chain(*(CausalResBlock(half if n == 0 else width, width, ChannelNorm) for n in range(2)))
        self.read_1 = chain(CausalResBlock(flow, flow, ChannelNorm), CausalConv3d(flow, 12, FRAME))
        self.read_2 = chain(CausalResBlock(flow, flow, ChannelNorm), CausalConv3d(flow, 24, FRAME))
        self.norm_out = ChannelNorm(width)
        self.conv_out = CausalConv3d(width, 24, FRAME)

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W)."""
        h = self.mid(self.conv_in(z, cache), cache)
        h, aside = h[:, : -self.flow], h[:, -self.flow :]
        low = self.haar_2(self.bands_2(self.read_2(aside, cache)), cache)
        h = self.up2(h, cache)
        h, aside = h[:, : -self.flow], h[:, -self.flow :]
        low = frames_inverse_haar(self.bands_1(add_low(self.read_1(aside, cache), low)))
        h = self.layer(self.up1(h, cache), cache)
        bands = self.conv_out(F.silu(self.norm_out(h)), cache)
        x_hat: Tensor = self.haar_out(add_low(bands, low), cache)
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for stage in (self.mid, self.up2, self.up1, self.layer):
            yield from stage


def add_low(bands: Tensor, low: Tensor) -> Tensor:
    """bands (B, 3 n, T, H, W) with ``low`` (B, 3, T, H, W) added to the first, the lowest."""
    return torch.cat([bands[:, :3] + low, bands[:, 3:]], dim=1)


class WFVAEConfig(BackboneSettings):
    """Wavelet energy flow beside a light causal network, 4x8x8 (WF-VAE, arXiv 2411.17459); the defaults are S."""

    kind: Literal["wfvae"] = "wfvae"
    latent_channels: int = Field(8, ge=1)
    encoder_width: int = Field(128, ge=1)
    decoder_width: int = Field(128, ge=1)
    encoder_flow: int = Field(64, ge=1, description="channels that a low band is lifted to")
    decoder_flow: int = Field(128, ge=1, description="channels that a low band is read from")
    blocks: int = Field(2, ge=1, description="residual blocks of a stage")

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return 8

    @property
    def time(self) -> Timeline:
        """Causal, the first frame alone."""
        return Timeline(factor=4)

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(out_channels, self.encoder_width, self.encoder_flow, self.blocks)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self.latent_channels, self.decoder_width, self.decoder_flow, self.blocks)
