"""Channels dropped from the end of the latent, so that the first ones learn what matters most.

Letters: B batch, C latent channels, S' the latent's grid, c' channels kept.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.regularizers.base import Draw, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class ChannelDropping(Regularizer):
    """The decoder reads the first c' channels, the others are 0; every sample draws its own c'.

    The paper draws one c' for a whole step. A draw for each sample has the same expectation, sees many c' in one
    step, and does not depend on how samples are spread over processes.

    Args:
        counts: fewer than all channels, rising; all of them are always a choice too.
        ends: share of the samples that take the fewest or all channels, half of them each; the rest draws
            uniformly from all choices.

    Source: Chen et al. 2025, DC-AE 1.5: Accelerating Diffusion Model Convergence with Structured Latent Space,
    arXiv 2508.00413 (structured latent space: mask of the first c' channels). ``ends`` is the option of the
    released trainer that decodes the fewest and all channels in each step.
    """

    def __init__(self, counts: Sequence[int], ends: float = 0.0) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.ends = ends

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """z (B, C, *S') -> the same shape with last channels 0; the pixels stay."""
        kept = self.kept(z.shape[1], draw.keys).to(z.device)
        mask = torch.arange(z.shape[1], device=z.device) < kept[:, None]  # (B, C)
        return z * mask.view(*mask.shape, *(1,) * (z.ndim - 2)).to(z), x

    def kept(self, channels: int, keys: Tensor) -> Tensor:
        """c' of each sample, (B,) int64 on the CPU.

        Raises:
            ValueError: if a count is not below the latent's channels.
        """
        refuse_counts(self.counts, channels)
        choices = torch.tensor([*self.counts, channels])
        end = seeding.uniform(keys, "channel dropping end")
        index = (seeding.uniform(keys, "channel dropping") * len(choices)).long()
        index = torch.where(end < self.ends, len(choices) - 1, index)
        index = torch.where(end < 0.5 * self.ends, 0, index)
        return choices[index]


class ChannelDroppingConfig(RegularizerSettings):
    """Only the first channels reach the decoder, a random number of them (DC-AE 1.5, arXiv 2508.00413)."""

    kind: Literal["channel_dropping"] = "channel_dropping"
    counts: tuple[int, ...] = Field(
        min_length=1, description="numbers of channels to keep, rising; all of them is a choice too"
    )
    ends: float = Field(
        default=0.0, ge=0, le=1, description="share of samples that keep the fewest or all channels"
    )

    @model_validator(mode="after")
    def _rising(self) -> "ChannelDroppingConfig":
        if self.counts[0] < 1 or list(self.counts) != sorted(set(self.counts)):
            raise ValueError(f"counts must rise from at least 1, got {list(self.counts)}")
        return self

    def check(self, part: PartSpec) -> None:
        """ValueError if a count is not below the latent's channels."""
        refuse_counts(self.counts, part.channels)

    def build(self, part: PartSpec) -> ChannelDropping:
        """The regularizer."""
        return ChannelDropping(self.counts, self.ends)


def refuse_counts(counts: Sequence[int], channels: int) -> None:
    """ValueError if a count is not below the latent's channels."""
    if counts[-1] >= channels:
        raise ValueError(
            f"channel_dropping: counts must be below the latent's {channels} channels (keeping all of them is "
            f"always a choice), got {list(counts)}"
        )
