"""The objective is the weighted sum, and refuses nonsense."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tokenizer.losses.bottleneck import BottleneckLossConfig
from tokenizer.losses.objective import Objective
from tokenizer.losses.pixel import L1Config, L2Config
from tokenizer.model import StepOutput


def test_weighted_sum(step_of: Callable[[Tensor], StepOutput]) -> None:
    objective = Objective.build(
        [L1Config(weight=2.0), L2Config(weight=4.0), BottleneckLossConfig(weight=0.5)]
    )
    x = torch.zeros(1, 3, 4, 4)
    out = objective(step_of(x + 0.5), x)
    assert float(out.total) == pytest.approx(2 * 0.5 + 4 * 0.25 + 0.5 * 2)
    assert {name: float(value) for name, value in out.terms.items()} == {
        "l1": 0.5,
        "l2": 0.25,
        "bottleneck": 2.0,
    }


def test_empty_and_twice_are_refused() -> None:
    for configs in ([], [L1Config(), L1Config()]):
        with pytest.raises(ValueError, match="at least one kind"):
            Objective.build(configs)
