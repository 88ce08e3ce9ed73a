"""Causal 3D convolutions: the autoencoder of latent diffusion, grown into time.

Source: Yu et al. 2023, MAGVIT-v2, arXiv 2310.05737, section 3.2; Yang et al. 2024, CogVideoX, arXiv 2408.06072,
section 2.1 (the 3D causal VAE); Chen et al. 2024, OD-VAE, arXiv 2409.01199.
"""

from typing import Literal

from pydantic import Field, model_validator

from tokenizer.backbones.base import BackboneSettings
from tokenizer.layers.causal_resnet import CausalDecoder, CausalEncoder
from tokenizer.spec import Timeline


class Causal3DConfig(BackboneSettings):
    """Causal 3D convolutions (CogVideoX, arXiv 2408.06072; OD-VAE, arXiv 2409.01199), norms frame by frame.

    ``time_levels`` are positions in ``widths`` (0: full resolution) behind which frames are halved as sides are.
    """

    kind: Literal["causal3d"] = "causal3d"
    latent_channels: int = Field(16, ge=1)
    widths: tuple[int, ...] = Field((128, 256, 256, 512), min_length=1)
    blocks_per_level: int = Field(3, ge=1)
    norm_groups: int = Field(32, ge=1)
    time_levels: tuple[int, ...] = (0, 1)
    mid_attention: bool = False
    quant_conv: bool = False
    post_quant_conv: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Causal3DConfig":
        for width in self.widths:
            if width < 1 or width % self.norm_groups:
                raise ValueError(f"width {width} must be a multiple of norm_groups, {self.norm_groups}")
        if any(not 0 <= level < len(self.widths) - 1 for level in self.time_levels):
            raise ValueError(
                f"time_levels names positions in widths before the last, 0 to {len(self.widths) - 2}"
            )
        if len(set(self.time_levels)) != len(self.time_levels):
            raise ValueError("time_levels names a position twice")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def time(self) -> Timeline:
        """Causal, the first frame alone."""
        return Timeline(factor=int(2 ** len(self.time_levels)))

    def build_encoder(self, out_channels: int) -> CausalEncoder:
        """x -> h with ``out_channels`` channels."""
        return CausalEncoder(
            out_channels=out_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            time_levels=self.time_levels,
            mid_attention=self.mid_attention,
            quant_conv=self.quant_conv,
        )

    def build_decoder(self) -> CausalDecoder:
        """z -> x_hat."""
        return CausalDecoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            blocks_per_level=self.blocks_per_level,
            groups=self.norm_groups,
            time_levels=self.time_levels,
            mid_attention=self.mid_attention,
            post_quant_conv=self.post_quant_conv,
        )
