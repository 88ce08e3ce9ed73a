"""The autoencoder of latent diffusion: residual blocks with group norm, one attention in the middle.

Source: Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752,
section 3.1 (perceptual image compression).
"""

from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Decoder, Encoder, GroupNorm


class KLBackboneConfig(BackboneSettings):
    """Autoencoder of latent diffusion (LDM, arXiv 2112.10752); the defaults are f8c4 as published.

    ``encoder_attention`` and ``decoder_attention`` are positions in ``widths`` (0: full resolution) where attention
    follows every block.
    """

    kind: Literal["kl"] = "kl"
    latent_channels: int = Field(4, ge=1)
    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)
    mid_attention: bool = True
    encoder_attention: tuple[int, ...] = ()
    decoder_attention: tuple[int, ...] = ()
    quant_conv: bool = True
    post_quant_conv: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "KLBackboneConfig":
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        for name in ("encoder_attention", "decoder_attention"):
            if any(not 0 <= level < len(self.widths) for level in getattr(self, name)):
                raise ValueError(f"{name} names positions in widths, 0 to {len(self.widths) - 1}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer, alone in touching the latent's channels.

        Raises:
            ValueError: if a 1x1 convolution beside the latent mixes them.
        """
        if self.quant_conv or self.post_quant_conv:
            raise ValueError(
                "quant_conv and post_quant_conv mix all channels of the latent: "
                "only a KL autoencoder without both can lose channels"
            )
        return "conv_out", "conv_in"

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(
            out_channels=out_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=self.mid_attention,
            quant_conv=self.quant_conv,
            attention_levels=self.encoder_attention,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            norm=partial(GroupNorm, groups=self.norm_groups),
            mid_attention=self.mid_attention,
            post_quant_conv=self.post_quant_conv,
            attention_levels=self.decoder_attention,
        )
