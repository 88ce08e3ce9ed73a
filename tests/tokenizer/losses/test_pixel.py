"""Pixel losses in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tokenizer.losses.pixel import L1, L2
from tokenizer.model import StepOutput


def test_closed_form(step_of: Callable[[Tensor], StepOutput]) -> None:
    x = torch.zeros(2, 3, 4, 4)
    step = step_of(x + 0.5)
    assert float(L1()(step, x)) == pytest.approx(0.5)
    assert float(L2()(step, x)) == pytest.approx(0.25)


def test_computed_in_float32(step_of: Callable[[Tensor], StepOutput]) -> None:
    x = torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16)
    assert L1()(step_of(x + 0.1), x).dtype == torch.float32
