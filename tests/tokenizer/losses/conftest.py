"""A forward pass made by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.model import StepOutput


@pytest.fixture
def step_of() -> Callable[[Tensor], StepOutput]:
    """A StepOutput around a reconstruction; its bottleneck loss is 2."""

    def make(x_hat: Tensor) -> StepOutput:
        z = torch.zeros(x_hat.shape[0], 1, 1, 1)
        bottleneck = BottleneckOutput(z=z, loss=torch.tensor(2.0))
        return StepOutput(x_hat=x_hat, z=z, bottleneck=bottleneck, target=x_hat, keys=torch.arange(len(z)))

    return make
