"""What every member of the union of losses must do."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from tokenizer.losses import LossConfig
from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput

OF_LATENTS = {"bottleneck", "mmd", "sliced_wasserstein"}  # they do not look at pictures

# Weight files, or a decoder that draws: their own tests make them.
OF_THEIR_OWN = {"lpips", "features", "flow"}
KINDS = [
    kind
    for kind in get_args(get_args(LossConfig)[0])
    if kind.model_fields["kind"].default not in OF_THEIR_OWN
]


@pytest.mark.parametrize("kind", KINDS)
def test_contract(kind: type[WeightedConfig], step_of: Callable[[Tensor], StepOutput]) -> None:
    """A float32 scalar, zero for a perfect picture and with a finite gradient otherwise."""
    loss = kind().build()  # type: ignore[attr-defined]  # every member has build
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    perfect = loss(step_of(x), x)
    assert perfect.shape == ()
    assert perfect.dtype == torch.float32
    x_hat = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    value = loss(step_of(x_hat), x)
    if kind.model_fields["kind"].default in OF_LATENTS:
        return
    assert float(perfect) == pytest.approx(0.0, abs=1e-6)
    value.backward()
    assert x_hat.grad is not None
    assert torch.isfinite(x_hat.grad).all()
    assert float(x_hat.grad.abs().max()) > 0
