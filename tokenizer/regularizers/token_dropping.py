"""Rows of few and of many tokens in training, so that every number of them decodes (nested dropout).

Of a row that has an order, the last tokens are dropped, so that the first ones learn what matters most; an encoder that
allocates tokens is asked for fewer.

Letters: B batch, C latent channels, N tokens, K kept.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.regularizers.base import Draw, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class TokenDropping(Regularizer):
    """The decoder reads K tokens, the first of a row that has an order; one K a step for all pictures and processes.

    Args:
        counts: to choose from with equal chances, all tokens among them if they are to be one.

    Source: Rippel et al. 2014, Learning Ordered Representations with Nested Dropout, arXiv 1402.0915, section 3; Wen
    et al. 2025, "Principal Components" Enable A New Language of Images (Semanticist), arXiv 2503.08685, section 3
    (one K for each picture; with one for a step, short rows cost less, and the expectation is the same); Duggal et al.
    2024, Adaptive Length Image Tokenization via Recurrent Allocation, arXiv 2411.02393 (losses at drawn iterations).
    """

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.counts = tuple(counts)

    def num_tokens(self, draw: Draw) -> int:
        """K, for an encoder that allocates its tokens."""
        return self.kept(draw.step)

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """z (B, C, N) -> (B, C, K); the pixels stay."""
        return z[..., : self.kept(draw.step)], x

    def kept(self, key: int) -> int:
        """K of the step with this key."""
        generator = seeding.generator(key, "token dropping")
        index = int(torch.randint(len(self.counts), (), generator=generator))
        return self.counts[index]


class TokenDroppingConfig(RegularizerSettings):
    """Only the first tokens reach the decoder, a random number of them (nested dropout, arXiv 1402.0915)."""

    kind: Literal["token_dropping"] = "token_dropping"
    counts: tuple[int, ...] = Field(
        min_length=1, description="numbers of tokens to keep, rising; all of them only if it is named"
    )

    @model_validator(mode="after")
    def _rising(self) -> "TokenDroppingConfig":
        if self.counts[0] < 1 or list(self.counts) != sorted(set(self.counts)):
            raise ValueError(f"counts must rise from at least 1, got {list(self.counts)}")
        return self

    def check(self, part: PartSpec) -> None:
        """ValueError if the latent is a grid, or a count is not one of its prefixes."""
        if part.layout != "1d":
            raise ValueError(
                "token_dropping needs a latent that is a row of tokens; use channel_dropping for a grid"
            )
        if any(count not in part.token_counts for count in self.counts):
            low, high = part.token_range
            known = part.known_counts() if low < high else f"only {low}: give the backbone min_tokens"
            raise ValueError(f"token_dropping: the latent has {known} tokens, got counts {list(self.counts)}")

    def build(self, part: PartSpec) -> TokenDropping:
        """The regularizer."""
        return TokenDropping(self.counts)
