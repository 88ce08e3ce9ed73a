"""The convolutional VQGAN: latent diffusion's encoder and decoder around codes of their own, smaller width.

1x1 convolutions go from the network's latent width to the codes' and back. MoVQ's decoder reads the codes a second
time, in its norms.

Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis, arXiv 2012.09841;
Zheng et al. 2022, MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation, arXiv 2209.09002 (spatially
conditional normalization); Sun et al. 2024, Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation
(LlamaGen), arXiv 2406.06525, and its released networks.
"""

from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.resnet import Decoder, Encoder, GroupNorm, MakeNorm, SpatialNorm


class VQGANConfig(BackboneSettings):
    """Convolutional VQGAN (arXiv 2012.09841), MoVQ with decoder_norm spatial; the defaults are LlamaGen's VQ-16.

    ``inner_channels`` is the latent's width inside the network, ``latent_channels`` that of the codes.
    ``encoder_attention`` and ``decoder_attention`` are positions in ``widths`` (0: full resolution) where attention
    follows every block.
    """

    kind: Literal["vqgan"] = "vqgan"
    latent_channels: int = Field(8, ge=1)
    inner_channels: int = Field(256, ge=1)
    widths: tuple[int, ...] = Field((128, 128, 256, 256, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)
    mid_attention: bool = True
    encoder_attention: tuple[int, ...] = (4,)
    decoder_attention: tuple[int, ...] = (4,)
    decoder_norm: Literal["group", "spatial"] = "group"

    @model_validator(mode="after")
    def _consistent(self) -> "VQGANConfig":
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
            ValueError: if the decoder's norms read the latent too.
        """
        if self.decoder_norm == "spatial":
            raise ValueError(
                "decoder_norm spatial reads every latent channel in every norm: none can be lost"
            )
        return "quant_conv", "post_quant_conv"

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(
            out_channels=out_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            mid_attention=self.mid_attention,
            attention_levels=self.encoder_attention,
            inner_channels=self.inner_channels,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        norm: MakeNorm = partial(GroupNorm, groups=self.norm_groups)
        if self.decoder_norm == "spatial":
            norm = partial(SpatialNorm, groups=self.norm_groups, latent_channels=self.latent_channels)
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            norm=norm,
            mid_attention=self.mid_attention,
            attention_levels=self.decoder_attention,
            inner_channels=self.inner_channels,
        )
