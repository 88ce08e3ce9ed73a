"""The loss of decoders that draw pixels: how far the predicted velocity is from the straight path's."""

from typing import Literal

from torch import Tensor, nn

from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput


class FlowLoss(nn.Module):
    """Mean squared error of the velocity over all values."""

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0.

        Raises:
            ValueError: if the decoder of this pass has no velocity.
        """
        if "velocity" not in step.extras:
            raise ValueError(
                "the loss flow needs a decoder that draws pixels (a diffusion decoder): leave it out"
            )
        return (step.extras["velocity"].float() - step.extras["velocity_target"].float()).square().mean()


class FlowConfig(WeightedConfig):
    """Squared error of a diffusion decoder's velocity (flow matching, arXiv 2210.02747)."""

    kind: Literal["flow"] = "flow"

    def build(self) -> FlowLoss:
        """The loss."""
        return FlowLoss()
