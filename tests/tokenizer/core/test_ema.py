"""The average's memory is counted in images."""

import pytest
import torch
from torch import nn

from tokenizer.core.ema import EMA


def test_half_life() -> None:
    """After half_life images of a jump, half of the old value is left, however the images were batched."""
    for batch in (1, 10):
        layer = nn.Linear(1, 1)
        nn.init.zeros_(layer.weight)
        ema = EMA(layer, half_life=100, ramp_up=1e9)
        nn.init.ones_(layer.weight)
        for images in range(batch, 101, batch):
            ema.update(layer, images, batch)
        assert float(ema.state_dict()["weight"]) == pytest.approx(0.5, abs=1e-5)


def test_ramp_up_forgets_the_start() -> None:
    layer = nn.Linear(1, 1)
    ema = EMA(layer, half_life=1e6, ramp_up=0.05)
    assert ema.decay(10, 10) < 1e-5
    assert ema.decay(10**9, 10) == pytest.approx(0.5 ** (10 / 1e6))


def test_buffers_follow_and_integers_are_copied() -> None:
    norm = nn.BatchNorm1d(2)
    ema = EMA(norm, half_life=1, ramp_up=1e9)
    norm.running_mean.fill_(4.0)
    norm.num_batches_tracked.fill_(7)
    ema.update(norm, 1, 1)
    assert torch.allclose(ema.state_dict()["running_mean"], torch.tensor([2.0, 2.0]))
    assert int(ema.state_dict()["num_batches_tracked"]) == 7


def test_state_returns_exactly_and_strangers_are_refused() -> None:
    layer = nn.Linear(3, 2)
    ema = EMA(layer, half_life=5)
    saved = {name: value + 1 for name, value in ema.state_dict().items()}
    ema.load_state_dict(saved)
    assert all(torch.equal(ema.state_dict()[name], value) for name, value in saved.items())
    with pytest.raises(ValueError, match="does not belong"):
        ema.load_state_dict({"other": torch.zeros(1)})


def test_what_is_adopted_has_no_past() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = EMA(model, half_life=1e9)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    ema.adopt(model, "1.")
    for name, value in model.state_dict().items():
        assert torch.equal(ema.state_dict()[name], value) == name.startswith("1."), name
