"""Pictures as a row of tokens: queries read the patches, and mask tokens at every patch read the queries' answers.

Source: Yu et al. 2024, An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550,
section 3.2 (both networks) and appendix A (sizes).

Letters: B batch, C channels, P patch side, H' W' = H/P W/P patches, N queries, K <= N tokens, D width.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers.masking import MaskToken, mask_tokens
from tokenizer.layers.patches import from_patches, to_patches
from tokenizer.layers.rows import DEVIATION, RowPositions
from tokenizer.layers.transformer import (
    FEED_FORWARDS,
    LearnedPositions,
    RotaryPositions,
    Transformer,
    init_linear,
)


class Encoder(nn.Module):
    """Patches and N queries through one transformer; what became of the queries is projected.

    Args:
        out_channels: C_h.
        patch: P.
        num_tokens: N.
        body: its positions are ``RowPositions``, which hold the queries.
        mask: what stands for hidden patches; None: none can be hidden.
    """

    def __init__(
        self,
        out_channels: int,
        patch: int,
        num_tokens: int,
        body: Transformer,
        mask: MaskToken | None = None,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.num_tokens = num_tokens
        self.mask = mask
        self.patch_embed = nn.Linear(3 * patch * patch, body.width)
        self.body = body
        self.project_out = nn.Linear(body.width, out_channels)
        for layer in (self.patch_embed, self.project_out):
            init_linear(layer)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, N); ``hidden`` bool (B, H' W'): patches that are not seen."""
        patches, grid = to_patches(x, self.patch)
        tokens = mask_tokens(self.mask, self.patch_embed(patches), hidden)  # (B, H' W', D)
        queries = tokens.new_zeros(len(x), self.num_tokens, tokens.shape[2])
        tokens = self.body(torch.cat([tokens, queries], dim=1), grid)
        h: Tensor = self.project_out(tokens[:, -self.num_tokens :])
        return h.transpose(1, 2).contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks


class Decoder(nn.Module):
    """A mask token for every patch and K tokens through one transformer; the patches become pixels.

    Args:
        latent_channels: C.
        patch: P.
        body: its positions are ``RowPositions``.
    """

    def __init__(self, latent_channels: int, patch: int, body: Transformer) -> None:
        super().__init__()
        self.patch = patch
        self.project_in = nn.Linear(latent_channels, body.width)
        self.mask = nn.Parameter(DEVIATION * torch.randn(body.width))
        self.body = body
        self.head = nn.Linear(body.width, 3 * patch * patch)
        for layer in (self.project_in, self.head):
            init_linear(layer)

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, K), K at most N, and the picture's size, a multiple of P -> x_hat (B, 3, *size)."""
        grid = (size[0] // self.patch, size[1] // self.patch)
        cells = grid[0] * grid[1]
        row = self.project_in(z.transpose(1, 2))  # (B, K, D)
        masks = self.mask.to(row).expand(len(z), cells, -1)
        tokens = self.body(torch.cat([masks, row], dim=1), grid)
        return from_patches(self.head(tokens[:, :cells]), grid, self.patch)

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks


class Query1DSize(Config):
    """How large a body is."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks")
    heads: int = Field(ge=1)


SIZES: dict[str, Query1DSize] = {  # TiTok, appendix A
    "S": Query1DSize(width=512, depth=8, heads=8),
    "B": Query1DSize(width=768, depth=12, heads=12),
    "L": Query1DSize(width=1024, depth=24, heads=16),
}


class Query1DConfig(BackboneSettings):
    """A picture as a row of tokens, by queries and mask tokens (TiTok, arXiv 2406.07550).

    The defaults are TiTok-L-32's networks. With ``min_tokens`` any prefix of at least so many tokens decodes, which is
    worth something if training has dropped tokens from the end (regularizer ``token_dropping``).
    """

    kind: Literal["query1d"] = "query1d"
    latent_channels: int = Field(12, ge=1)
    tokens: int = Field(32, ge=1, description="of a picture, whatever its size")
    min_tokens: int | None = Field(
        None, ge=1, description="the shortest prefix that decodes; none: all of them"
    )
    patch: int = Field(16, ge=1, description="pixels a side of a patch")
    encoder: Literal["S", "B", "L"] | Query1DSize = "L"
    decoder: Literal["S", "B", "L"] | Query1DSize = "L"
    positions: Literal["rotary", "learned"] = Field("learned", description="of the patches")
    learned_side: int = Field(16, ge=1, description="grid of learned positions; other grids resize it")
    placed: bool = Field(
        False,
        description="tokens have places spread over the picture, which TiTok's have not; needs positions rotary",
    )
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    mask_token: bool = Field(False, description="patches can be hidden from the encoder (token_masking)")

    @model_validator(mode="after")
    def _consistent(self) -> "Query1DConfig":
        if self.min_tokens is not None and self.min_tokens > self.tokens:
            raise ValueError(f"min_tokens {self.min_tokens} must not be above tokens, {self.tokens}")
        if self.placed and self.positions != "rotary":
            raise ValueError(f"placed needs positions rotary, not {self.positions}")
        for name in ("encoder", "decoder"):
            size = self.size(getattr(self, name))
            if size.width % size.heads:
                raise ValueError(f"{name}: width {size.width} must be a multiple of heads, {size.heads}")
            if self.positions == "rotary" and (size.width // size.heads) % 4:
                raise ValueError(
                    f"{name}: rotary positions need width / heads, {size.width // size.heads}, to be a multiple of 4; "
                    "or take positions learned"
                )
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side that pictures are padded to a multiple of."""
        return self.patch

    @property
    def num_tokens(self) -> int | tuple[int, int]:
        """Of a latent."""
        return self.tokens if self.min_tokens is None else (self.min_tokens, self.tokens)

    def size(self, named: str | Query1DSize) -> Query1DSize:
        """The size that a name of TiTok's table stands for."""
        return named if isinstance(named, Query1DSize) else SIZES[named]

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        body = self._body(self.size(self.encoder))
        mask = MaskToken(body.width) if self.mask_token else None
        return Encoder(out_channels, self.patch, self.tokens, body, mask)

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        return Decoder(self.latent_channels, self.patch, self._body(self.size(self.decoder)))

    def _body(self, size: Query1DSize) -> Transformer:
        grid: nn.Module
        if self.positions == "rotary":
            grid = RotaryPositions(size.width // size.heads)
        else:
            grid = LearnedPositions(size.width, self.learned_side)
        return Transformer(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            feed_forward=FEED_FORWARDS[self.feed_forward],
            positions=RowPositions(grid, self.tokens, size.width, placed=self.placed),
            bias=True,
            pre_norm=True,
        )
