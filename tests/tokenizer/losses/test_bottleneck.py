"""The bottleneck's loss passes through."""

from collections.abc import Callable

import torch
from torch import Tensor

from tokenizer.losses.bottleneck import BottleneckLoss
from tokenizer.model import StepOutput


def test_it_is_the_bottlenecks(step_of: Callable[[Tensor], StepOutput]) -> None:
    x = torch.zeros(1, 3, 4, 4)
    assert float(BottleneckLoss()(step_of(x), x)) == 2.0
