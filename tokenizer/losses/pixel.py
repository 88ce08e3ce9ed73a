"""Distances between pixels."""

from typing import Literal

from torch import Tensor, nn

from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput


class L1(nn.Module):
    """Mean absolute error over all values."""

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0."""
        return (step.x_hat.float() - x.float()).abs().mean()


class L2(nn.Module):
    """Mean squared error over all values."""

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0."""
        return (step.x_hat.float() - x.float()).square().mean()


class L1Config(WeightedConfig):
    """Mean absolute error of pixels."""

    kind: Literal["l1"] = "l1"

    def build(self) -> L1:
        """The loss."""
        return L1()


class L2Config(WeightedConfig):
    """Mean squared error of pixels."""

    kind: Literal["l2"] = "l2"

    def build(self) -> L2:
        """The loss."""
        return L2()
