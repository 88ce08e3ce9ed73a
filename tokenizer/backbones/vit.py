"""Vision transformers as encoder and decoder: patches to tokens, tokens to patches, no convolution.

Source: Hansen-Estruch et al. 2025, Learnings from Scaling Visual Tokenizers for Reconstruction and Generation
(ViTok), arXiv 2501.09755, section 2.2 and table 1; Zhao et al. 2024, Image and Video Tokenization with Binary
Spherical Quantization (BSQ-ViT), arXiv 2406.07548, section 3 (positions, norms and head differ).

Letters: B batch, C channels, P patch side, H' W' = H/P W/P the grid, N = H' W' tokens, D width.
"""

from collections.abc import Iterator
from typing import Literal

from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers.masking import MaskToken, mask_tokens
from tokenizer.layers.patches import from_patches, to_patches
from tokenizer.layers.transformer import (
    FEED_FORWARDS,
    LearnedPositions,
    RotaryPositions,
    SinCosPositions,
    Transformer,
    init_linear,
)


class Encoder(nn.Module):
    """Patches to features: a linear map of each patch (a convolution of stride P), the body, a linear map."""

    def __init__(
        self, out_channels: int, patch: int, body: Transformer, mask: MaskToken | None = None
    ) -> None:
        super().__init__()
        self.patch = patch
        self.mask = mask
        self.patch_embed = nn.Linear(3 * patch * patch, body.width)
        self.body = body
        self.project_out = nn.Linear(body.width, out_channels)
        for layer in (self.patch_embed, self.project_out):
            init_linear(layer)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, H/P, W/P); ``hidden`` bool (B, N): patches that are not seen."""
        patches, grid = to_patches(x, self.patch)
        tokens = self.body(mask_tokens(self.mask, self.patch_embed(patches), hidden), grid)  # (B, N, D)
        h: Tensor = rearrange(self.project_out(tokens), "b (h w) c -> b c h w", h=grid[0])
        return h.contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks


class Decoder(nn.Module):
    """Latents to patches: a linear map, the body, and ``head``, a linear map to the pixels of a patch.

    With ``head_width`` the head has a tanh layer of that width in between (BSQ-ViT's).
    """

    def __init__(self, latent_channels: int, patch: int, body: Transformer, head_width: int | None) -> None:
        super().__init__()
        self.patch = patch
        self.project_in = nn.Linear(latent_channels, body.width)
        self.body = body
        pixels = 3 * patch * patch
        if head_width is None:
            self.head = nn.Sequential(nn.Linear(body.width, pixels))
        else:
            self.head = nn.Sequential(
                nn.Linear(body.width, head_width), nn.Tanh(), nn.Linear(head_width, pixels)
            )
        for layer in (self.project_in, *self.head):
            init_linear(layer)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, C, H', W') -> x_hat (B, 3, P H', P W')."""
        grid = (z.shape[2], z.shape[3])
        tokens = self.body(self.project_in(rearrange(z, "b c h w -> b (h w) c")), grid)  # (B, N, D)
        return from_patches(self.head(tokens), grid, self.patch)

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks


class ViTSize(Config):
    """How large a body is."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks")
    heads: int = Field(ge=1)


SIZES: dict[str, ViTSize] = {  # ViTok, table 1
    "S": ViTSize(width=768, depth=6, heads=12),
    "B": ViTSize(width=768, depth=12, heads=12),
    "L": ViTSize(width=1152, depth=24, heads=16),
}


class ViTConfig(BackboneSettings):
    """Vision transformers with encoder and decoder of any two sizes (ViTok, arXiv 2501.09755; BSQ-ViT, 2406.07548).

    The defaults are ViTok S-B/16 with 16 channels: E = H W C / P^2 = 4096 floats for 256x256 pixels.
    """

    kind: Literal["vit"] = "vit"
    latent_channels: int = Field(16, ge=1)
    patch: int = Field(16, ge=1, description="pixels a side for one latent position")
    encoder: Literal["S", "B", "L"] | ViTSize = "S"
    decoder: Literal["S", "B", "L"] | ViTSize = "B"
    feed_forward: Literal["swiglu", "gelu"] = "swiglu"
    positions: Literal["rotary", "sincos", "learned"] = "rotary"
    learned_side: int = Field(32, ge=1, description="grid of learned positions; other grids resize it")
    bias: bool = Field(False, description="in the linear maps of the blocks")
    pre_norm: bool = Field(False, description="a norm before the first block too")
    head_width: int | None = Field(
        None, ge=1, description="of a tanh layer before the pixels; none: no layer"
    )
    mask_token: bool = Field(False, description="patches can be hidden from the encoder (token_masking)")

    @model_validator(mode="after")
    def _consistent(self) -> "ViTConfig":
        for name in ("encoder", "decoder"):
            size = self.size(getattr(self, name))
            if size.width % size.heads:
                raise ValueError(f"{name}: width {size.width} must be a multiple of heads, {size.heads}")
            if self.positions == "rotary" and (size.width // size.heads) % 4:
                raise ValueError(
                    f"{name}: rotary positions need width / heads, {size.width // size.heads}, to be a multiple of 4; "
                    "or take positions sincos or learned"
                )
            if self.positions == "sincos" and size.width % 4:
                raise ValueError(f"{name}: sincos positions need a width that is a multiple of 4")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side for one latent position."""
        return self.patch

    def size(self, named: str | ViTSize) -> ViTSize:
        """The size that a name of ViTok's table stands for."""
        return named if isinstance(named, ViTSize) else SIZES[named]

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        body = self._body(self.size(self.encoder))
        return Encoder(out_channels, self.patch, body, MaskToken(body.width) if self.mask_token else None)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(
            latent_channels=self.latent_channels,
            patch=self.patch,
            body=self._body(self.size(self.decoder)),
            head_width=self.head_width,
        )

    def _body(self, size: ViTSize) -> Transformer:
        positions: nn.Module
        if self.positions == "rotary":
            positions = RotaryPositions(size.width // size.heads)
        elif self.positions == "sincos":
            positions = SinCosPositions(size.width)
        else:
            positions = LearnedPositions(size.width, self.learned_side)
        return Transformer(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            feed_forward=FEED_FORWARDS[self.feed_forward],
            positions=positions,
            bias=self.bias,
            pre_norm=self.pre_norm,
        )
