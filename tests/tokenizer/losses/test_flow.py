"""The velocity's squared error, and a decoder without one."""

import pytest
import torch

from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.losses.flow import FlowConfig
from tokenizer.model import StepOutput


def step(extras: dict[str, torch.Tensor]) -> StepOutput:
    x, z = torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 1, 1)
    bottleneck = BottleneckOutput(z=z, indices=None, loss=torch.zeros(()), stats={})
    return StepOutput(x_hat=x, z=z, bottleneck=bottleneck, target=x, extras=extras)


def test_it_is_the_mean_squared_error_of_the_velocity_alone() -> None:
    loss = FlowConfig().build()
    made = step({"velocity": torch.full((1, 3, 2, 2), 0.5), "velocity_target": torch.full((1, 3, 2, 2), 2.0)})
    assert float(loss(made, torch.ones(1, 3, 2, 2))) == 2.25


def test_a_decoder_that_draws_nothing_is_named() -> None:
    with pytest.raises(ValueError, match="flow needs a decoder that draws pixels"):
        FlowConfig().build()(step({}), torch.zeros(1, 3, 2, 2))
