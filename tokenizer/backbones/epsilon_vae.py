"""The diffusion autoencoder: a convolutional encoder, and a U-Net that denoises the pixels beside the enlarged latent.

Source: Zhao et al. 2024, Epsilon-VAE: Denoising as Visual Decoding, arXiv 2410.04081, section 3 (conditioning by
channels, rectified flow, losses on the estimate of one step) and appendix (the U-Net of arXiv 2105.05233).

Letters: B batch, C latent channels, f the spatial factor.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Encoder
from tokenizer.layers.sampling import SamplingDecoder
from tokenizer.layers.unet import UNet


class Decoder(SamplingDecoder):
    """A U-Net of the noisy picture and the latent, enlarged to it by its nearest values.

    Args:
        network: (x (B, 3 + C, H, W), t) -> (B, 3, H, W).
        num_steps, time_mean, time_std, noisy: as for any decoder that draws pixels.
    """

    def __init__(
        self, network: UNet, *, num_steps: int, time_mean: float, time_std: float, noisy: bool
    ) -> None:
        super().__init__(num_steps=num_steps, time_mean=time_mean, time_std=time_std, noisy=noisy)
        self.network = network

    def condition(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, H/f, W/f) -> (B, C, H, W)."""
        return F.interpolate(z, size=size, mode="nearest")

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x_t (B, 3, H, W), t (B,), condition (B, C, H, W) -> the velocity (B, 3, H, W)."""
        out: Tensor = self.network(torch.cat([x_t.to(condition.dtype), condition], dim=1), t)
        return out

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.network.blocks()


class EpsilonVAEConfig(BackboneSettings):
    """A U-Net that draws the picture given the latent (epsilon-VAE, arXiv 2410.04081).

    The defaults are the encoder of latent diffusion at f16 with 8 channels, and a U-Net of the same widths.
    """

    kind: Literal["epsilon_vae"] = "epsilon_vae"
    latent_channels: int = Field(8, ge=1)
    widths: tuple[int, ...] = Field((128, 128, 256, 256, 512), min_length=1, description="of the encoder")
    blocks_per_level: int = Field(2, ge=1, description="of the encoder")
    unet_widths: tuple[int, ...] = Field(
        (128, 128, 256, 256, 512), min_length=1, description="at most as many as of the encoder"
    )
    unet_blocks: int = Field(2, ge=1, description="of each resolution on the way down")
    norm_groups: int = Field(32, ge=1)
    attention: bool = Field(True, description="in the middle of both networks")
    steps: int = Field(3, ge=1, description="of decoding, unless a call says otherwise")
    time_mean: float = 0.0
    time_std: float = Field(1.0, gt=0)
    deterministic: bool = Field(
        False,
        description="no noise and one pass: an ordinary decoder of the same parameters, to compare with",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "EpsilonVAEConfig":
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
        network = UNet(
            in_channels=3 + self.latent_channels,
            widths=self.unet_widths,
            blocks_per_level=self.unet_blocks,
            groups=self.norm_groups,
            attention=self.attention,
        )
        return Decoder(
            network,
            num_steps=self.steps,
            time_mean=self.time_mean,
            time_std=self.time_std,
            noisy=not self.deterministic,
        )
