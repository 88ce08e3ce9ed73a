"""The tiny autoencoder: plain convolutions and ReLU at one width, for previews of other people's latents.

Inside, pixels are in [0, 1] and latents are squeezed to (-3, 3).

Source: Boer Bohan 2023, TAESD: Tiny AutoEncoder for Stable Diffusion, github.com/madebyollin/taesd (MIT).

Letters: B batch, C channels, H W rows and columns, f the spatial factor.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.backbones.base import BackboneSettings


class Block(nn.Module):
    """Three convolutions with ReLU between them, plus identity, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(channels, channels),
            nn.ReLU(),
            _conv(channels, channels),
            nn.ReLU(),
            _conv(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        return torch.relu(self.conv(x) + x)


class Encoder(nn.Module):
    """Pixels to latents: a convolution and some blocks at each resolution, with stride 2 below the first."""

    def __init__(self, out_channels: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.width, self.counts = width, tuple(blocks)
        layers: list[nn.Module] = []
        for level, count in enumerate(blocks):
            layers.append(
                nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False) if level else _conv(3, width)
            )
            layers += [Block(width) for _ in range(count)]
        self.layers = nn.Sequential(*layers, _conv(width, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/f, W/f)."""
        h: Tensor = self.layers((x + 1) / 2)
        return h

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from (layer for layer in self.layers if isinstance(layer, Block))


class Decoder(nn.Module):
    """Latents to pixels: some blocks at each resolution, nearest neighbour and a convolution between them."""

    def __init__(self, latent_channels: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.width, self.counts = width, tuple(blocks)
        layers: list[nn.Module] = [_conv(latent_channels, width), nn.ReLU()]
        for level, count in enumerate(blocks):
            layers += [Block(width) for _ in range(count)]
            if level + 1 < len(blocks):
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
        self.layers = nn.Sequential(*layers, _conv(width, 3))

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        x_hat: Tensor = self.layers(3 * torch.tanh(z / 3))
        return x_hat * 2 - 1

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from (layer for layer in self.layers if isinstance(layer, Block))


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class TAESDConfig(BackboneSettings):
    """Tiny autoencoder (TAESD, github.com/madebyollin/taesd); the defaults are TAESD's f8c4.

    Blocks are listed from the pixels down for the encoder, from the latent up for the decoder.
    """

    kind: Literal["taesd"] = "taesd"
    latent_channels: int = Field(4, ge=1)
    encoder_width: int = Field(64, ge=1)
    decoder_width: int = Field(64, ge=1)
    encoder_blocks: tuple[int, ...] = Field((1, 3, 3, 3), min_length=1)
    decoder_blocks: tuple[int, ...] = Field((3, 3, 3, 1), min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "TAESDConfig":
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError("encoder_blocks and decoder_blocks need one entry a resolution, as many in both")
        if any(count < 0 for count in (*self.encoder_blocks, *self.decoder_blocks)):
            raise ValueError("a resolution cannot have fewer than 0 blocks")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return int(2 ** (len(self.encoder_blocks) - 1))

    def latent_layers(self) -> tuple[str, str]:
        """Names of the encoder's last and the decoder's first layer, alone in touching the latent's channels."""
        last = len(self.encoder_blocks) + sum(self.encoder_blocks)
        return f"layers.{last}", "layers.0"

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        return Encoder(out_channels, self.encoder_width, self.encoder_blocks)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self.latent_channels, self.decoder_width, self.decoder_blocks)
