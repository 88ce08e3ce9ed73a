"""Distance between wavelet coefficients: detail counts as much as colour."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.layers.frames import fold
from tokenizer.layers.wavelets import haar
from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput


class WaveletLoss(nn.Module):
    """Mean absolute error of the detail bands of ``levels`` Haar decompositions, each level counted equally.

    A detail coefficient is a difference of neighbouring pixels, so this term weighs edges and texture.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0; sides of x must be multiples of 2^levels; of clips each frame by itself."""
        difference = fold(step.x_hat.float() - x.float())
        total = torch.zeros((), device=x.device)
        for _ in range(self.levels):
            bands = haar(difference)
            total = total + bands[:, 1:].abs().mean()
            difference = 0.5 * bands[:, 0]  # the mean of each cell, on the pixels' scale
        return total / self.levels


class WaveletConfig(WeightedConfig):
    """Mean absolute error of Haar detail coefficients."""

    kind: Literal["wavelet"] = "wavelet"
    levels: int = Field(default=3, ge=1, le=6)

    def build(self) -> WaveletLoss:
        """The loss."""
        return WaveletLoss(self.levels)
