"""A tokenizer on top of a frozen encoder: a thin adapter, a decoder back to the features, one from them to pixels.

The frozen encoder's weights are in no checkpoint: the tokenizer remembers where they lie and their sha256, so that
other weights are refused.

Source: Gao et al. 2025, One Layer Is Enough: Adapting Pretrained Visual Encoders for Image Generation (FAE), arXiv
2512.07829, section 3 (one self-attention layer and a linear map; feature decoder, then pixel decoder); Zhu et al. 2024,
Stabilize the Latent Space for Image Autoregressive Modeling: A Unified Perspective (DiGIT), arXiv 2410.12490, section 4
(no adapter: codes are clusters of the features).

Letters: B batch, D channels of the frozen encoder, C latent channels, f pixels a side of a position, H' W' = H/f W/f.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers.frozen import Frozen, FrozenConfig, has_values
from tokenizer.layers.patches import from_patches
from tokenizer.layers.transformer import (
    Attention,
    RotaryPositions,
    SwiGLUFeedForward,
    Transformer,
    init_linear,
)


class Adapter(nn.Module):
    """Self-attention over the features with its residual, then a linear map."""

    def __init__(self, channels: int, heads: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, heads, bias=True)
        self.project_out = nn.Linear(channels, out_channels)
        self.apply(init_linear)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, D, H', W') -> h (B, C_h, H', W')."""
        tokens = rearrange(features, "b d h w -> b (h w) d")
        tokens = tokens + self.attention(self.norm(tokens))
        h: Tensor = rearrange(self.project_out(tokens), "b (h w) c -> b c h w", h=features.shape[2])
        return h.contiguous()


class Encoder(nn.Module):
    """The frozen encoder's features, and what an adapter makes of them.

    ``features`` is the identity on what the frozen encoder gives, a layer that others may read.

    Args:
        frozen: gives (B, D, H', W') without gradient.
        factor: f.
        adapter: D -> C_h channels; the identity where there is none.
    """

    fingerprint: Tensor

    def __init__(self, frozen: Frozen, factor: int, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.factor = factor
        self.features = nn.Identity()
        self.adapter = adapter
        self.register_buffer("fingerprint", torch.zeros(32, dtype=torch.uint8))
        self._known = False

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H', W').

        Raises:
            ValueError: if the frozen encoder is not the one that this tokenizer was trained on.
        """
        if not self._known and has_values(x):
            self.recognise()
        grid = (x.shape[2] // self.factor, x.shape[3] // self.factor)
        h: Tensor = self.adapter(self.features(self.frozen(x, grid).to(x.dtype)))
        return h

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    @torch.no_grad()
    def recognise(self) -> None:
        """Remember the frozen encoder, or refuse another than the remembered one."""
        found = torch.tensor(list(self.frozen.sha256()), dtype=torch.uint8, device=self.fingerprint.device)
        if not self.fingerprint.any():
            self.fingerprint.copy_(found)
        elif not torch.equal(self.fingerprint, found):
            said = bytes(self.fingerprint.tolist()).hex()[:12]
            raise ValueError(
                f"this tokenizer was trained on a frozen encoder with sha256 {said}..., and "
                f"{self.frozen.config.folder or self.frozen.config.weights or 'the random one'} has "
                f"{self.frozen.sha256().hex()[:12]}...: put the weights that it was trained on there"
            )
        self._known = True

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield self.adapter


class FeatureDecoder(nn.Module):
    """z to the features: a linear map, blocks, a linear map."""

    def __init__(self, latent_channels: int, body: Transformer, channels: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(latent_channels, body.width)
        self.body = body
        self.project_out = nn.Linear(body.width, channels)
        for layer in (self.project_in, self.project_out):
            init_linear(layer)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> features (B, D, H', W')."""
        grid = (z.shape[2], z.shape[3])
        tokens = self.body(self.project_in(rearrange(z, "b c h w -> b (h w) c")), grid)
        features: Tensor = rearrange(self.project_out(tokens), "b (h w) d -> b d h w", h=grid[0])
        return features


class PixelDecoder(nn.Module):
    """Features to pixels: a linear map, blocks, a linear map to the pixels of each position."""

    def __init__(self, channels: int, body: Transformer, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.project_in = nn.Linear(channels, body.width)
        self.body = body
        self.head = nn.Linear(body.width, 3 * factor * factor)
        for layer in (self.project_in, self.head):
            init_linear(layer)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, D, H', W') -> x_hat (B, 3, f H', f W')."""
        grid = (features.shape[2], features.shape[3])
        tokens = self.project_in(self.norm(rearrange(features, "b d h w -> b (h w) d")))
        return from_patches(self.head(self.body(tokens, grid)), grid, self.factor)


class Decoder(nn.Module):
    """``features``, a layer that others may read (the identity where the latent is the features), then ``pixels``."""

    def __init__(self, features: nn.Module, pixels: PixelDecoder) -> None:
        super().__init__()
        self.features = features
        self.pixels = pixels

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, f H', f W')."""
        x_hat: Tensor = self.pixels(self.features(z))
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        for network in (self.features, self.pixels):
            if isinstance(network, FeatureDecoder | PixelDecoder):
                yield from network.body.blocks


class FAESize(Config):
    """How large a decoder is."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks")
    heads: int = Field(ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "FAESize":
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(f"width {self.width} over {self.heads} heads must be a multiple of 4")
        return self

    def body(self) -> Transformer:
        """Its blocks."""
        return Transformer(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            feed_forward=SwiGLUFeedForward,
            positions=RotaryPositions(self.width // self.heads),
            bias=True,
            pre_norm=False,
        )


class FAEConfig(BackboneSettings):
    """A frozen encoder, a thin adapter, features and then pixels (FAE, arXiv 2512.07829; DiGIT, 2410.12490).

    Without ``adapter`` and ``feature_decoder`` the latent is the frozen features themselves, what DiGIT's codes are of.
    """

    kind: Literal["fae"] = "fae"
    latent_channels: int = Field(32, ge=1)
    factor: int = Field(16, ge=1, description="pixels a side for one latent position")
    frozen: FrozenConfig
    adapter: Literal["attention", "none"] = "attention"
    adapter_heads: int = Field(16, ge=1)
    feature_decoder: FAESize | None = None
    pixel_decoder: FAESize

    @model_validator(mode="after")
    def _consistent(self) -> "FAEConfig":
        if (self.adapter == "none") != (self.feature_decoder is None):
            raise ValueError(
                "adapter none and no feature_decoder belong together: the latent is the features"
            )
        channels = self.frozen.channels
        if self.adapter == "attention" and channels is not None and channels % self.adapter_heads:
            raise ValueError(
                f"the {channels} channels must be a multiple of adapter_heads, {self.adapter_heads}"
            )
        if self.adapter == "none" and channels is not None and channels != self.latent_channels:
            raise ValueError(f"without an adapter latent_channels must be the encoder's channels, {channels}")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return self.factor

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels.

        Raises:
            ValueError: if files of the frozen encoder are missing, or its channels are not those of the latent.
        """
        frozen = self.frozen.open()
        if self.adapter == "none":
            if out_channels != frozen.channels:
                raise ValueError(
                    f"without an adapter the bottleneck takes {frozen.channels} channels, not {out_channels}"
                )
            return Encoder(frozen, self.factor, nn.Identity())
        return Encoder(frozen, self.factor, Adapter(frozen.channels, self.adapter_heads, out_channels))

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        channels = self.frozen.open().channels
        features: nn.Module = nn.Identity()
        if self.feature_decoder is not None:
            features = FeatureDecoder(self.latent_channels, self.feature_decoder.body(), channels)
        return Decoder(features, PixelDecoder(channels, self.pixel_decoder.body(), self.factor))
