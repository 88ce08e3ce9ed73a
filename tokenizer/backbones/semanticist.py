"""Pictures as an ordered, causal row of tokens, and a diffusion transformer that draws the pixels given a prefix of it.

Source: Wen et al. 2025, "Principal Components" Enable A New Language of Images (Semanticist), arXiv 2503.08685,
section 3 and appendix (ViT-B/16 encoder, DiT decoder, 256 tokens of 16 channels at unit variance, nested dropout by
null tokens, guidance by them). The paper's decoder draws latents of a frozen autoencoder; this one draws pixels.

Letters: B batch, C latent channels, P patch side, H' W' = H/P W/P patches, N tokens, K <= N of them, D width.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.backbones.base import BackboneSettings
from tokenizer.core.config import Config
from tokenizer.layers.modulation import ModulatedBlock, TimeEmbedding, modulate
from tokenizer.layers.patches import from_patches, to_patches
from tokenizer.layers.rows import DEVIATION, RowPositions, causal_row
from tokenizer.layers.sampling import Predicts, SamplingDecoder
from tokenizer.layers.transformer import (
    FEED_FORWARDS,
    LearnedPositions,
    SinCosPositions,
    Transformer,
    init_linear,
)


class Encoder(nn.Module):
    """Patches and N queries through one transformer, in which a query sees the patches and the queries before it.

    Every token leaves with mean 0 and variance 1 over its channels.

    Args:
        out_channels: C_h.
        patch: P.
        num_tokens: N.
        body: its positions are ``RowPositions``, which hold the queries.
    """

    def __init__(self, out_channels: int, patch: int, num_tokens: int, body: Transformer) -> None:
        super().__init__()
        self.patch = patch
        self.num_tokens = num_tokens
        self.patch_embed = nn.Linear(3 * patch * patch, body.width)
        self.body = body
        self.project_out = nn.Linear(body.width, out_channels)
        for layer in (self.patch_embed, self.project_out):
            init_linear(layer)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> h (B, C_h, N)."""
        patches, grid = to_patches(x, self.patch)
        tokens = self.patch_embed(patches)  # (B, H' W', D)
        queries = tokens.new_zeros(len(x), self.num_tokens, tokens.shape[2])
        mask = causal_row(tokens.shape[1], self.num_tokens, tokens.device)
        tokens = self.body(torch.cat([tokens, queries], dim=1), grid, mask)
        h = self.project_out(tokens[:, -self.num_tokens :])
        return F.layer_norm(h, [h.shape[2]]).transpose(1, 2).contiguous()

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body.blocks


class Decoder(SamplingDecoder):
    """A transformer over the patches of the noisy picture and a row of N tokens, modulated by the time.

    Tokens that are not there are null tokens, which are learned.

    Args:
        latent_channels: C.
        patch: P.
        num_tokens: N.
        width, depth, heads: of the body.
        guidance: of sampling, away from what null tokens alone would give; 1 is none.
        num_steps, predicts, noisy: as for any decoder that draws pixels.
    """

    def __init__(
        self,
        latent_channels: int,
        patch: int,
        num_tokens: int,
        *,
        width: int,
        depth: int,
        heads: int,
        guidance: float,
        num_steps: int,
        predicts: Predicts,
        noisy: bool,
    ) -> None:
        super().__init__(num_steps=num_steps, predicts=predicts, noisy=noisy)
        self.patch = patch
        self.num_tokens = num_tokens
        self.guidance = guidance
        self.null = nn.Parameter(DEVIATION * torch.randn(num_tokens, latent_channels))
        self.patch_embed = nn.Linear(3 * patch * patch, width)
        self.project_in = nn.Linear(latent_channels, width)
        self.positions = RowPositions(SinCosPositions(width), num_tokens, width)
        self.embed_time = TimeEmbedding(width)
        self.body = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, 3 * patch * patch)
        for layer in (self.patch_embed, self.project_in):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.modulation_out, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def condition(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """z (B, C, K) -> (B, N, C), null tokens in the places that it lacks."""
        row = z.transpose(1, 2)
        null = self.null[row.shape[1] :].to(row)
        return torch.cat([row, null.expand(len(row), *null.shape)], dim=1)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x_t (B, 3, H, W), sides multiples of P, t (B,), condition (B, N, C) -> the shape of x_t."""
        patches, grid = to_patches(x_t.to(condition.dtype), self.patch)
        cells = patches.shape[1]
        row = self.project_in(condition)  # (B, N, D)
        tokens, _ = self.positions(torch.cat([self.patch_embed(patches), row], dim=1), grid)
        c = self.embed_time(t)
        for block in self.body:
            tokens = block(tokens, c)
        shift, scale = self.modulation_out(c).chunk(2, dim=1)
        out = self.head(modulate(self.norm_out(tokens[:, :cells]), shift, scale))
        return from_patches(out, grid, self.patch)

    def drift(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """v_null + guidance (v - v_null), where there is guidance and noise."""
        if self.guidance == 1.0 or not self.noisy:
            return self.velocity(x_t, t, condition)
        null = self.null.to(condition).expand_as(condition)
        both = self.velocity(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([condition, null]))
        v, v_null = both.chunk(2)
        return v_null + self.guidance * (v - v_null)

    def blocks(self) -> Iterator[nn.Module]:
        """The modules whose activations may be recomputed instead of kept."""
        yield from self.body


class SemanticistSize(Config):
    """How large a body is."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1, description="number of blocks")
    heads: int = Field(ge=1)


ENCODERS: dict[str, SemanticistSize] = {"B": SemanticistSize(width=768, depth=12, heads=12)}  # ViT-B
DECODERS: dict[str, SemanticistSize] = {  # DiT, arXiv 2212.09748, table 1
    "L": SemanticistSize(width=1024, depth=24, heads=16),
    "XL": SemanticistSize(width=1152, depth=28, heads=16),
}


class SemanticistConfig(BackboneSettings):
    """Ordered tokens of which every prefix decodes, by diffusion (Semanticist, arXiv 2503.08685).

    The order comes from training with the regularizer ``token_dropping``. The defaults are the paper's ViT-B encoder
    and DiT-L decoder, on patches of 16 pixels.
    """

    kind: Literal["semanticist"] = "semanticist"
    latent_channels: int = Field(16, ge=2)
    tokens: int = Field(256, ge=1, description="of a picture, whatever its size")
    min_tokens: int = Field(1, ge=1, description="the shortest prefix that decodes")
    encoder_patch: int = Field(16, ge=1, description="pixels a side of a patch")
    decoder_patch: int = Field(16, ge=1)
    encoder: Literal["B"] | SemanticistSize = "B"
    decoder: Literal["L", "XL"] | SemanticistSize = "L"
    learned_side: int = Field(16, ge=1, description="grid of the encoder's positions; other grids resize it")
    predicts: Predicts = Field(
        "velocity", description="picture: where a patch has more values than the decoder is wide"
    )
    steps: int = Field(8, ge=1, description="of decoding, unless a call says otherwise")
    guidance: float = Field(1.0, ge=0, description="of decoding, away from null tokens; 1 is none")
    deterministic: bool = Field(
        False,
        description="no noise and one pass: an ordinary decoder of the same parameters, to compare with",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SemanticistConfig":
        if self.min_tokens > self.tokens:
            raise ValueError(f"min_tokens {self.min_tokens} must not be above tokens, {self.tokens}")
        for name, size in (("encoder", self.encoder_size), ("decoder", self.decoder_size)):
            if size.width % size.heads:
                raise ValueError(f"{name}: width {size.width} must be a multiple of heads, {size.heads}")
        if self.decoder_size.width % 4:
            raise ValueError("decoder: width must be a multiple of 4")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels a side that pictures are padded to a multiple of."""
        return math.lcm(self.encoder_patch, self.decoder_patch)

    @property
    def num_tokens(self) -> tuple[int, int]:
        """Of a latent, the fewest and the most."""
        return (self.min_tokens, self.tokens)

    @property
    def num_steps(self) -> int | None:
        """Of decoding; None where the decoder draws nothing."""
        return None if self.deterministic else self.steps

    @property
    def encoder_size(self) -> SemanticistSize:
        """Of the encoder's body."""
        return self.encoder if isinstance(self.encoder, SemanticistSize) else ENCODERS[self.encoder]

    @property
    def decoder_size(self) -> SemanticistSize:
        """Of the decoder's body."""
        return self.decoder if isinstance(self.decoder, SemanticistSize) else DECODERS[self.decoder]

    def build_encoder(self, out_channels: int) -> Encoder:
        """x -> h with ``out_channels`` channels."""
        size = self.encoder_size
        body = Transformer(
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            feed_forward=FEED_FORWARDS["gelu"],
            positions=RowPositions(LearnedPositions(size.width, self.learned_side), self.tokens, size.width),
            bias=True,
            pre_norm=False,
        )
        return Encoder(out_channels, self.encoder_patch, self.tokens, body)

    def build_decoder(self) -> Decoder:
        """z -> x_hat, drawn."""
        return Decoder(
            self.latent_channels,
            self.decoder_patch,
            self.tokens,
            **self.decoder_size.model_dump(),
            guidance=self.guidance,
            num_steps=self.steps,
            predicts=self.predicts,
            noisy=not self.deterministic,
        )
