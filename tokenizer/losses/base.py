"""What a loss is: a function of one training forward pass and its pixels."""

from typing import Protocol

from pydantic import Field
from torch import Tensor

from tokenizer.core.config import Config
from tokenizer.model import StepOutput


class Loss(Protocol):
    """``loss(step, x) -> scalar``: the mean over the batch, float32, unweighted."""

    def __call__(self, step: StepOutput, x: Tensor) -> Tensor:
        """``x`` (B, 3, *S) in [-1, 1] is the target of ``step.x_hat``."""
        ...


class WeightedConfig(Config):
    """What every loss's configuration has."""

    weight: float = Field(default=1.0, ge=0)
