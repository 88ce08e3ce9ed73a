"""A U-Net keeps the size, reads the time, and begins at zero."""

import pytest
import torch
from torch import nn

from tokenizer.layers.unet import TimedResBlock, UNet


def build(**changes: object) -> UNet:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "in_channels": 5,
        "widths": [8, 12, 16],
        "blocks_per_level": 1,
        "groups": 8,
        "attention": True,
    }
    return UNet(**(settings | changes))  # type: ignore[arg-type]  # as above


def awake(network: nn.Module) -> nn.Module:
    """What starts at 0 is moved, so that everything is heard."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@torch.no_grad()
def test_a_fresh_one_gives_zero_at_any_size() -> None:
    network = build()
    for size in ((16, 16), (8, 20), (4, 4)):
        out = network(torch.randn(2, 5, *size), torch.tensor([0.1, 0.9]))
        assert out.shape == (2, 3, *size)
        assert not out.any()


@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_time_and_every_channel_are_heard_and_rows_are_apart(attention: bool) -> None:
    network = awake(build(attention=attention))
    x, t = torch.randn(2, 5, 8, 8), torch.tensor([0.2, 0.7])
    out = network(x, t)
    assert not torch.allclose(network(x, t.flip(0)), out, atol=1e-3)
    for channel in range(5):
        changed = x.clone()
        changed[0, channel, 0, 0] += 1.0
        moved = (network(changed, t) - out).abs().amax(dim=(1, 2, 3))
        assert moved[0] > 1e-4
        assert moved[1] < 1e-5


@torch.no_grad()
def test_a_fresh_block_of_one_width_is_the_identity() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 4, 4)
    assert torch.equal(TimedResBlock(12, 12, 6, 4)(x, torch.randn(2, 6)), x)


def test_blocks_name_all_but_the_ends() -> None:
    network = build()
    inside = sum(parameter.numel() for block in network.blocks() for parameter in block.parameters())
    whole = sum(parameter.numel() for parameter in network.parameters())
    assert 0.7 * whole < inside < whole
