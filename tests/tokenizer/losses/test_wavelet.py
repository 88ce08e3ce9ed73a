"""The wavelet loss sees detail and ignores a shift of colour."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tokenizer.losses.wavelet import WaveletLoss
from tokenizer.model import StepOutput


def test_a_constant_shift_costs_nothing(step_of: Callable[[Tensor], StepOutput]) -> None:
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(WaveletLoss(3)(step_of(x + 0.3), x)) == pytest.approx(0.0, abs=1e-6)


def test_stripes_of_one_level_cost_that_level(step_of: Callable[[Tensor], StepOutput]) -> None:
    """Columns +a, -a: one detail band of three is 2a everywhere at the first level, nothing below."""
    x = torch.zeros(1, 3, 16, 16)
    stripes = x.clone()
    stripes[..., 0::2], stripes[..., 1::2] = 0.25, -0.25
    assert float(WaveletLoss(1)(step_of(stripes), x)) == pytest.approx(0.5 / 3)
    assert float(WaveletLoss(2)(step_of(stripes), x)) == pytest.approx(0.5 / 3 / 2)
