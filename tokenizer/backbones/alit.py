"""Pictures as rows of as many tokens as asked for: the encoder goes over patches and tokens again and again, and every
round adds tokens (ALIT).

A round refines the patches and all tokens that are there, so that a row of few tokens is not the beginning of a longer
one: each number of tokens is a code of its own. Left out is the paper's option to mask patches that are reconstructed
well enough in later rounds (dynamic halting).

Source: Duggal et al. 2024, Adaptive Length Image Tokenization via Recurrent Allocation, arXiv 2411.02393, section 3,
and its released networks (sizes).

Letters: B batch, C channels, P patch side, H' W' = H/P W/P patches, S tokens a round, R rounds, K = S R tokens, D
width.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers import resnet
from tokenizer.layers.patches import from_patches, to_patches
from tokenizer.layers.rows import DEVIATION, RowPositions, with_row
from tokenizer.layers.transformer import (
    FEED_FORWARDS,
    Attention,
    Block,
    Grid,
    LearnedPositions,
    RotaryPositions,
    Transformer,
    init_linear,
)


class Stem(nn.Module):
    """Patches as tokens of unit length; features of a convolutional encoder, where there is one, are part of them.

    Args:
        patch: P.
        width: D.
        base: x -> features (B, C, H', W'), or None.
        base_channels: C; 0 without.
    """

    def __init__(self, patch: int, width: int, base: nn.Module | None, base_channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.base = base
        self.embed = nn.Linear(3 * patch * patch, width - base_channels)
        init_linear(self.embed)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """x (B, 3, H, W) in [-1, 1] -> tokens (B, H' W', D), and (H', W')."""
        patches, grid = to_patches(x, self.patch)
        tokens = self.embed(patches)
        if self.base is not None:
            tokens = torch.cat([rearrange(self.base(x), "b c h w -> b (h w) c"), tokens], dim=2)
        return F.normalize(tokens, dim=-1), grid


class Encoder(nn.Module):
    """Rounds of one transformer over the patches and a row that grows by S tokens a round.

    Args:
        out_channels: C_h.
        stem: x -> (tokens, grid).
        positions: of the patches, (tokens, grid) -> (tokens, angles or None).
        blocks: of the transformer, the same in every round.
        width: D.
        step: S.
        rounds: R at most.
    """

    def __init__(
        self,
        out_channels: int,
        stem: Stem,
        positions: nn.Module,
        blocks: list[Block],
        width: int,
        step: int,
        rounds: int,
    ) -> None:
        super().__init__()
        self.step = step
        self.stem = stem
        self.positions = positions
        self.new = nn.Parameter(DEVIATION * torch.randn(step, width))
        self.round_table = nn.Parameter(DEVIATION * torch.randn(rounds, step, width))
        self.norm_first = nn.LayerNorm(width, eps=1e-6)
        self.norm_again = nn.LayerNorm(width, eps=1e-6)
        self.body = nn.ModuleList(blocks)
        self.body.apply(init_linear)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.project_out = nn.Linear(width, out_channels)
        init_linear(self.project_out)

    def forward(self, x: Tensor, num_tokens: int | None = None) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, K), K a multiple of S; none: the most."""
        tokens, grid = self.stem(x)
        tokens, angles = self.positions(tokens, grid)
        cells = tokens.shape[1]
        rounds = len(self.round_table) if num_tokens is None else num_tokens // self.step
        for index in range(rounds):
            added = (self.new + self.round_table[index]).to(tokens).expand(len(tokens), -1, -1)
            norm = self.norm_again if index else self.norm_first
            tokens = norm(torch.cat([tokens, added], dim=1))
            turns = with_row(angles, tokens.shape[1] - cells)
            for block in self.body:
                tokens = block(tokens, turns)
        h: Tensor = self.project_out(self.norm_out(tokens[:, cells:]))
        return h.transpose(1, 2).contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body
        if isinstance(self.stem.base, resnet.Encoder):
            yield from self.stem.base.blocks()


class Decoder(nn.Module):
    """A mask token for every patch and K tokens through one transformer; the patches become pixels.

    Args:
        latent_channels: C.
        patch: P.
        body: its positions are ``RowPositions``.
        out_channels: C' of what the transformer makes of a patch.
        base: features (B, C', H', W') -> x_hat; None where they are the pixels of the patch.
    """

    def __init__(
        self, latent_channels: int, patch: int, body: Transformer, out_channels: int, base: nn.Module | None
    ) -> None:
        super().__init__()
        self.patch = patch
        self.project_in = nn.Linear(latent_channels, body.width)
        self.mask = nn.Parameter(DEVIATION * torch.randn(body.width))
        self.body = body
        self.head = nn.Sequential(
            nn.Linear(body.width, 2 * body.width), nn.Tanh(), nn.Linear(2 * body.width, out_channels)
        )
        self.base = base
        self.project_in.apply(init_linear)
        self.head.apply(init_linear)

    def forward(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, K) and the picture's size, a multiple of P -> x_hat (B, 3, *size)."""
        grid = (size[0] // self.patch, size[1] // self.patch)
        cells = grid[0] * grid[1]
        row = self.project_in(z.transpose(1, 2))  # (B, K, D)
        masks = self.mask.to(row).expand(len(z), cells, -1)
        patches = self.head(self.body(torch.cat([masks, row], dim=1), grid)[:, :cells])
        if self.base is None:
            return from_patches(patches, grid, self.patch)
        x_hat: Tensor = self.base(rearrange(patches, "b (h w) c -> b c h w", h=grid[0]).contiguous())
        return x_hat

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks
        if isinstance(self.base, resnet.Decoder):
            yield from self.base.blocks()


class ALITSize(Config):
    """How large a transformer is."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks, of every round")
    heads: int = Field(ge=1)


class ALITBase(Config):
    """A convolutional encoder and decoder (VQGAN's) between pixels and the transformers' patches."""

    channels: int = Field(256, ge=1, description="of its features")
    widths: tuple[int, ...] = Field((128, 128, 256, 256, 512), min_length=1)
    blocks_per_level: int = Field(2, ge=1)
    norm_groups: int = Field(32, ge=1)
    mid_attention: bool = False


SIZES: dict[str, ALITSize] = {  # of the released networks
    "tiny": ALITSize(width=512, depth=8, heads=8),
    "small": ALITSize(width=1024, depth=8, heads=8),
    "base": ALITSize(width=768, depth=12, heads=12),
    "semilarge": ALITSize(width=1024, depth=16, heads=16),
}
SizeName = Literal["tiny", "small", "base", "semilarge"]


class ALITConfig(BackboneSettings):
    """A picture as as many tokens as asked for, added round after round (ALIT, arXiv 2411.02393).

    The defaults are the released alit_small's transformers. Any multiple of ``step`` up to ``tokens`` decodes, which is
    worth something if training has asked for such counts (regularizer ``token_dropping``).
    """

    kind: Literal["alit"] = "alit"
    latent_channels: int = Field(12, ge=1)
    tokens: int = Field(256, ge=1, description="of a picture at most, whatever its size")
    step: int = Field(32, ge=1, description="tokens that a round adds")
    patch: int = Field(16, ge=1, description="pixels a side of a patch")
    encoder: SizeName | ALITSize = "small"
    decoder: SizeName | ALITSize = "small"
    base: ALITBase | None = Field(
        None, description="convolutions between pixels and patches; none: linear maps"
    )
    positions: Literal["rotary", "learned"] = Field("learned", description="of the patches")
    learned_side: int = Field(16, ge=1, description="grid of learned positions; other grids resize it")
    feed_forward: Literal["gelu", "swiglu"] = "gelu"

    @model_validator(mode="after")
    def _consistent(self) -> "ALITConfig":
        if self.tokens % self.step:
            raise ValueError(f"tokens {self.tokens} must be a multiple of step, {self.step}")
        for name in ("encoder", "decoder"):
            size = self.size(getattr(self, name))
            if size.width % size.heads:
                raise ValueError(f"{name}: width {size.width} must be a multiple of heads, {size.heads}")
            if self.positions == "rotary" and (size.width // size.heads) % 4:
                raise ValueError(
                    f"{name}: rotary positions need width / heads, {size.width // size.heads}, to be a multiple of 4; "
                    "or take positions learned"
                )
        if self.base is not None:
            factor = 2 ** (len(self.base.widths) - 1)
            if factor != self.patch:
                raise ValueError(
                    f"base: {len(self.base.widths)} widths make patches of {factor}, not {self.patch}"
                )
            if self.base.channels >= self.size(self.encoder).width:
                raise ValueError(f"base: channels {self.base.channels} must be below the encoder's width")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side that pictures are padded to a multiple of."""
        return self.patch

    @property
    def num_tokens(self) -> tuple[int, int]:
        """Of a latent."""
        return (self.step, self.tokens)

    @property
    def allocation(self) -> int:
        """Tokens that a round adds."""
        return self.step

    def size(self, named: SizeName | ALITSize) -> ALITSize:
        """The size that a released name stands for."""
        return named if isinstance(named, ALITSize) else SIZES[named]

    def build_encoder(self, out_channels: int) -> Encoder:
        """(x, number of tokens) -> h with ``out_channels`` channels."""
        size, base, channels = self.size(self.encoder), None, 0
        if self.base is not None:
            channels = self.base.channels
            base = resnet.Encoder(
                out_channels=channels,
                widths=self.base.widths,
                blocks_per_level=self.base.blocks_per_level,
                groups=self.base.norm_groups,
                mid_attention=self.base.mid_attention,
                quant_conv=False,
            )
        feed_forward = FEED_FORWARDS[self.feed_forward]
        return Encoder(
            out_channels=out_channels,
            stem=Stem(self.patch, size.width, base, channels),
            positions=self._positions(size),
            blocks=[
                Block(
                    size.width, Attention(size.width, size.heads, bias=True), feed_forward(size.width, True)
                )
                for _ in range(size.depth)
            ],
            width=size.width,
            step=self.step,
            rounds=self.tokens // self.step,
        )

    def build_decoder(self) -> Decoder:
        """z -> x_hat."""
        size, base, channels = self.size(self.decoder), None, 3 * self.patch * self.patch
        if self.base is not None:
            channels = self.base.channels
            base = resnet.Decoder(
                latent_channels=channels,
                widths=self.base.widths,
                blocks_per_level=self.base.blocks_per_level,
                norm=partial(resnet.GroupNorm, groups=self.base.norm_groups),
                mid_attention=self.base.mid_attention,
                post_quant_conv=False,
            )
        body = Transformer(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            feed_forward=FEED_FORWARDS[self.feed_forward],
            positions=RowPositions(self._positions(size), self.tokens, size.width),
            bias=True,
            pre_norm=True,
        )
        return Decoder(self.latent_channels, self.patch, body, channels, base)

    def _positions(self, size: ALITSize) -> nn.Module:
        if self.positions == "rotary":
            return RotaryPositions(size.width // size.heads)
        return LearnedPositions(size.width, self.learned_side)
