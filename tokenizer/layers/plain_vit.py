"""A plain vision transformer that tells classes: what ``tokenizer.teacher`` trains and frozen encoders may be.

Letters: B batch, P patch side, H' W' = H/P W/P patches, N = H' W', D width, Y classes.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tokenizer.core.config import Config
from tokenizer.layers.patches import to_patches
from tokenizer.layers.transformer import GELUFeedForward, SinCosPositions, Transformer, init_linear


class PlainViT(nn.Module):
    """Patches through a transformer with fixed positions, so that any size works; classes from the mean over patches.

    Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, arXiv 2010.11929; Beyer et al. 2022, Better plain
    ViT baselines for ImageNet-1k, arXiv 2205.01580 (fixed positions, mean over patches).
    """

    def __init__(self, width: int, patch: int, depth: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.patch = patch
        self.patch_embed = nn.Linear(3 * patch * patch, width)
        self.body = Transformer(
            width=width,
            depth=depth,
            heads=heads,
            feed_forward=GELUFeedForward,
            positions=SinCosPositions(width),
            bias=True,
            pre_norm=False,
        )
        self.head = nn.Linear(width, num_classes)
        for layer in (self.patch_embed, self.head):
            init_linear(layer)

    def features(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> (B, N, D), the normalised output of the last block."""
        patches, grid = to_patches(x, self.patch)
        tokens: Tensor = self.body(self.patch_embed(patches), grid)
        return tokens

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> logits (B, Y)."""
        logits: Tensor = self.head(self.features(x).mean(dim=1))
        return logits


class PlainViTSize(Config):
    """How large it is."""

    width: int = Field(96, ge=8)
    patch: int = Field(8, ge=1, description="pixels a side")
    depth: int = Field(4, ge=1, description="number of blocks")
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PlainViTSize":
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of heads, {self.heads}")
        return self

    def build(self, num_classes: int = 1) -> PlainViT:
        """With fresh weights."""
        return PlainViT(self.width, self.patch, self.depth, self.heads, num_classes)

    def random(self, seed: int) -> PlainViT:
        """With the random weights of a seed; no random state outside moves.

        Weights are as large as trained ones are, so that features tell patches and neighbourhoods apart.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build()
            for parameter in network.parameters():
                if parameter.ndim == 2:
                    nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        return network
