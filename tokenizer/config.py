"""What a tokenizer is made of: a backbone and a bottleneck."""

import torch
from pydantic import model_validator

from tokenizer.backbones import BackboneConfig
from tokenizer.bottlenecks import BottleneckConfig
from tokenizer.bottlenecks.base import Codes
from tokenizer.bottlenecks.identity import IdentityConfig
from tokenizer.core.config import Config
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec, Timeline


class TokenizerConfig(Config):
    """A tokenizer's parts."""

    backbone: BackboneConfig
    bottleneck: BottleneckConfig = IdentityConfig()

    def build(self) -> Autoencoder:
        """The autoencoder with fresh weights and a spec that is not measured yet."""
        channels = self.backbone.latent_channels
        bottleneck = self.bottleneck.build(channels)
        return Autoencoder(
            encoder=self.backbone.build_encoder(bottleneck.input_channels),
            bottleneck=bottleneck,
            decoder=self.backbone.build_decoder(),
            spec=self._spec(bottleneck.codes),
        )

    @property
    def spec(self) -> LatentSpec:
        """What the latents are; not measured yet."""
        with torch.device("meta"):
            return self._spec(self.bottleneck.build(self.backbone.latent_channels).codes)

    def _spec(self, codes: Codes | None) -> LatentSpec:
        backbone = self.backbone
        if backbone.time is not None:
            return video_spec(backbone.latent_channels, backbone.spatial_factor, backbone.time, codes)
        channels, factor = backbone.latent_channels, backbone.spatial_factor
        spec = image_spec(channels, factor, codes, backbone.num_tokens, backbone.allocation)
        return spec.model_copy(update={"num_steps": backbone.num_steps})

    @model_validator(mode="after")
    def _fits(self) -> "TokenizerConfig":
        _ = self.spec
        return self


def image_spec(
    channels: int,
    spatial_factor: int,
    codes: Codes | None,
    num_tokens: int | tuple[int, int] | None = None,
    allocation: int | None = None,
) -> LatentSpec:
    """The spec of an image tokenizer that is not measured yet; with ``num_tokens`` its latent is no grid."""
    if codes is None:
        return LatentSpec.image(channels, spatial_factor, num_tokens=num_tokens, allocation=allocation)
    return LatentSpec.image(
        channels,
        spatial_factor,
        num_tokens=num_tokens,
        allocation=allocation,
        codebook_size=codes.codebook_size,
        num_codebooks=codes.num_codebooks,
        scales=codes.scales,
    )


def video_spec(channels: int, spatial_factor: int, time: Timeline, codes: Codes | None) -> LatentSpec:
    """The spec of a video tokenizer that is not measured yet.

    Raises:
        ValueError: if the bottleneck's codes are of several scales, which clips do not have.
    """
    if codes is None:
        return LatentSpec.video(channels, spatial_factor, time)
    if codes.scales is not None:
        raise ValueError("a bottleneck of several scales takes pictures, not clips")
    return LatentSpec.video(
        channels,
        spatial_factor,
        time,
        codebook_size=codes.codebook_size,
        num_codebooks=codes.num_codebooks,
    )
