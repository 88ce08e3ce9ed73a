"""The autoencoder that samples what it cannot compress: a first picture from the latent, then a U-Net that draws on it.

Source: Birodkar et al. 2024, Sample what you can't compress (SWYCC), arXiv 2409.02529, section 3 (D_initial, D_refine,
joint training, losses of pixels on the first picture). The path of the noise here is the straight one, where the paper
has a cosine schedule.

Letters: B batch, C latent channels, f the spatial factor.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Decoder as FirstDecoder
from tokenizer.layers.resnet import Encoder, GroupNorm
from tokenizer.layers.sampling import SamplingDecoder
from tokenizer.layers.unet import UNet


class Decoder(SamplingDecoder):
    """An ordinary decoder makes the first picture; a U-Net of it and the noisy picture draws the second.

    Losses of pixels see the first picture, so that it stays near the mean of what the latent allows.

    Args:
        first: z -> (B, 3, H, W).
        network: (x (B, 6, H, W), t) -> (B, 3, H, W).
        num_steps, time_mean, time_std, noisy: as for any decoder that draws pixels.
    """

    def __init__(
        self,
        first: FirstDecoder,
        network: UNet,
        *,
        num_steps: int,
        time_mean: float,
        time_std: float,
        noisy: bool,
    ) -> None:
        super().__init__(num_steps=num_steps, time_mean=time_mean, time_std=time_std, noisy=noisy)
        self.first = first
        self.network = network

    def condition(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, H/f, W/f) -> the first picture (B, 3, H, W)."""
        x_first: Tensor = self.first(z)
        return x_first

    def seen(self, condition: Tensor, x_0: Tensor) -> Tensor:
        """The first picture; of an ordinary decoder the second, which then has no other loss."""
        return condition if self.noisy else x_0

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x_t (B, 3, H, W), t (B,), condition (B, 3, H, W) -> the velocity (B, 3, H, W)."""
        out: Tensor = self.network(torch.cat([x_t.to(condition.dtype), condition], dim=1), t)
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.first.blocks()
        yield from self.network.blocks()


class SWYCCConfig(BackboneSettings):
    """A first picture, and a U-Net that draws what the latent does not hold (SWYCC, arXiv 2409.02529).

    The defaults are encoder and first decoder of latent diffusion at f8 with 8 channels, and a U-Net of their widths.
    """

    kind: Literal["swycc"] = "swycc"
    latent_channels: int = Field(8, ge=1)
    widths: tuple[int, ...] = Field(
        (128, 256, 512, 512), min_length=1, description="of encoder and first decoder"
    )
    blocks_per_level: int = Field(2, ge=1, description="of encoder and first decoder")
    unet_widths: tuple[int, ...] = Field(
        (128, 256, 512, 512), min_length=1, description="at most as many as of the encoder"
    )
    unet_blocks: int = Field(2, ge=1, description="of each resolution on the way down")
    norm_groups: int = Field(32, ge=1)
    attention: bool = Field(True, description="in the middle of the networks")
    steps: int = Field(4, ge=1, description="of decoding, unless a call says otherwise")
    time_mean: float = 0.0
    time_std: float = Field(1.0, gt=0)
    deterministic: bool = Field(
        False,
        description="no noise and one pass: an ordinary decoder of the same parameters, to compare with",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SWYCCConfig":
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        if len(self.unet_widths) > len(self.widths):
            raise ValueError(
                f"unet_widths may have at most the {len(self.widths)} resolutions of widths: pictures are padded to "
                "multiples of the encoder's factor"
            )
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def num_steps(self) -> int | None:
        """Of decoding; None where the decoder draws nothing."""
        return None if self.deterministic else self.steps

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(
            out_channels=out_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=self.attention,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat, drawn."""
        first = FirstDecoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            norm=partial(GroupNorm, groups=self.norm_groups),
            mid_attention=self.attention,
        )
        network = UNet(
            in_channels=6,
            widths=self.unet_widths,
            blocks_per_level=self.unet_blocks,
            groups=self.norm_groups,
            attention=self.attention,
        )
        return Decoder(
            first,
            network,
            num_steps=self.steps,
            time_mean=self.time_mean,
            time_std=self.time_std,
            noisy=not self.deterministic,
        )
