"""The bottleneck's own loss (the KL divergence, a codebook's commitment) as a member of the objective."""

from typing import Literal

from torch import Tensor, nn

from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput


class BottleneckLoss(nn.Module):
    """Whatever the bottleneck returned as its loss."""

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar."""
        return step.bottleneck.loss


class BottleneckLossConfig(WeightedConfig):
    """The bottleneck's own loss, for example the KL divergence in nats a latent value."""

    kind: Literal["bottleneck"] = "bottleneck"

    def build(self) -> BottleneckLoss:
        """The loss."""
        return BottleneckLoss()
