"""Patches hidden from the encoder, so that tokens tell of the whole picture and not of the patches beside them.

Letters: B batch, N patches.
"""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.regularizers.base import Draw, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class TokenMasking(Regularizer):
    """The encoder does not see a share of the patches, drawn uniformly between two shares for each picture.

    Which patches, and how many, depends on the picture's key alone. The decoder must reproduce all of them.

    Args:
        low, high: shares of the patches.

    Source: Chen et al. 2025, Masked Autoencoders Are Effective Tokenizers for Diffusion Models (MAETok), arXiv
    2502.03444, section 3.2 (40 to 60 %; its code draws shares that lie nearer the larger one).
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def hide(self, x: Tensor, draw: Draw) -> Tensor:
        """Pixels x (B, 3, *S) -> bool (B, N), true where a patch is hidden."""
        cells = math.prod(side // draw.factor for side in x.shape[2:])
        share = self.low + (self.high - self.low) * seeding.uniform(draw.keys, "token masking share")
        scores = torch.stack(
            [torch.rand(cells, generator=seeding.generator(int(key), "token masking")) for key in draw.keys]
        )
        ranks = scores.argsort(dim=1).argsort(dim=1)
        return (ranks < (share * cells).round().unsqueeze(1)).to(x.device)


class TokenMaskingConfig(RegularizerSettings):
    """A share of the patches is hidden from the encoder (MAETok, arXiv 2502.03444); it needs a mask token."""

    kind: Literal["token_masking"] = "token_masking"
    low: float = Field(default=0.4, ge=0, lt=1, description="smallest share of patches that is hidden")
    high: float = Field(default=0.6, ge=0, lt=1, description="largest share")

    @model_validator(mode="after")
    def _rising(self) -> "TokenMaskingConfig":
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high, {self.high}")
        return self

    def build(self, part: PartSpec) -> TokenMasking:
        """The regularizer."""
        return TokenMasking(self.low, self.high)
