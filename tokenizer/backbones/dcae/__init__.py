"""The deep compression autoencoder: residual shortcuts through pixel (un)shuffling, linear attention below.

Source: Chen et al. 2024, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models,
arXiv 2410.10733; the settings of its descendants (SANA, Lite, 1.1, 1.5) are those of their released models.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from tokenizer.backbones.base import BackboneSettings
from tokenizer.backbones.dcae.blocks import Activation, Block, EfficientViTBlock, Norm, ResBlock
from tokenizer.backbones.dcae.network import Decoder, Encoder
from tokenizer.backbones.dcae.resampling import Downsampling, Upsampling


class DCAEConfig(BackboneSettings):
    """Deep compression autoencoder (DC-AE, arXiv 2410.10733); the defaults are f32c32 as published.

    Stages run from full resolution to the latent. A depth of 0 for the first one makes that side's stem (the
    encoder's first layer, the decoder's last) change the resolution.
    """

    kind: Literal["dcae"] = "dcae"
    latent_channels: int = Field(32, ge=1)
    widths: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    encoder_depths: tuple[int, ...] = (0, 4, 8, 2, 2, 2)
    decoder_depths: tuple[int, ...] = (0, 5, 10, 2, 2, 2)
    blocks: tuple[Block, ...] = Field(
        ("res", "res", "res", "efficientvit", "efficientvit", "efficientvit"), description="of both sides"
    )
    decoder_blocks: tuple[Block, ...] | None = Field(None, description="where the decoder's are others")
    decoder_norms: tuple[Norm, ...] = ("batch", "batch", "batch", "rms", "rms", "rms")
    decoder_activations: tuple[Activation, ...] = ("relu", "relu", "relu", "silu", "silu", "silu")
    head_dim: int = Field(32, ge=1)
    attention_kernels: tuple[int, ...] = Field(
        (), description="neighbourhoods of multi-scale attention, sides in positions; SANA: 5"
    )
    downsampling: Downsampling = "unshuffle"
    upsampling: Upsampling = "shuffle"
    encoder_out_shortcut: bool = True
    decoder_in_shortcut: bool = True
    out_activation: Activation = "relu"

    @model_validator(mode="after")
    def _consistent(self) -> "DCAEConfig":
        stages = len(self.widths)
        for name in ("encoder_depths", "decoder_depths", "blocks", "decoder_norms", "decoder_activations"):
            if len(getattr(self, name)) != stages:
                raise ValueError(f"{name} needs one entry a stage: {stages}, as widths has")
        if self.decoder_blocks is not None and len(self.decoder_blocks) != stages:
            raise ValueError(f"decoder_blocks needs one entry a stage: {stages}, as widths has")
        if stages < 2 or any(width < 1 or width % 4 for width in self.widths[1:]):
            raise ValueError("at least two stages, widths multiples of 4")
        for depths in (self.encoder_depths, self.decoder_depths):
            if any(depth < 1 for depth in depths[1:]) or depths[0] < 0:
                raise ValueError("only the first stage may have depth 0")
            first = 1 if depths[0] == 0 else 0
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
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.attention_kernels):
            raise ValueError(f"attention_kernels must be odd, got {list(self.attention_kernels)}")
        for blocks in (self.blocks, self.blocks_of_decoder):
            self._check_heads(blocks)
        return self

    def _check_heads(self, blocks: Sequence[Block]) -> None:
        for block, width in zip(blocks, self.widths, strict=True):
            if block == "efficientvit" and width < self.head_dim:
                raise ValueError(
                    f"an efficientvit stage of width {width} has no head of {self.head_dim} channels"
                )

    @property
    def blocks_of_decoder(self) -> tuple[Block, ...]:
        """The decoder's blocks, one kind a stage."""
        return self.blocks if self.decoder_blocks is None else self.decoder_blocks

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.widths) - 1))

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer, alone in touching the latent's channels.

        Raises:
            ValueError: if a shortcut touches them too.
        """
        if self.encoder_out_shortcut or self.decoder_in_shortcut:
            raise ValueError(
                "encoder_out_shortcut and decoder_in_shortcut join every latent channel to features of its own: "
                "only a DC-AE without both (1.1, 1.5) can lose channels"
            )
        return "project_out", "project_in"

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
            kernels=self.attention_kernels,
            downsampling=self.downsampling,
            out_shortcut=self.encoder_out_shortcut,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(
            latent_channels=self.latent_channels,
            widths=self.widths,
            depths=self.decoder_depths,
            blocks=self.blocks_of_decoder,
            norms=self.decoder_norms,
            activations=self.decoder_activations,
            head_dim=self.head_dim,
            kernels=self.attention_kernels,
            upsampling=self.upsampling,
            in_shortcut=self.decoder_in_shortcut,
            out_activation=self.out_activation,
        )


__all__ = ["DCAEConfig", "Decoder", "EfficientViTBlock", "Encoder", "ResBlock"]
