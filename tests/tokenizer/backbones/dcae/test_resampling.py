"""Resampling of DC-AE: shortcuts as defined, and convolutions that move pixels or do not."""

import pytest
import torch

from tokenizer.backbones.dcae.resampling import Downsample, Upsample


def zeroed(module: Downsample | Upsample) -> Downsample | Upsample:
    module.requires_grad_(False)
    torch.nn.init.zeros_(module.conv.weight)
    assert module.conv.bias is not None
    torch.nn.init.zeros_(module.conv.bias)
    return module


@pytest.mark.parametrize(("down", "up"), [("unshuffle", "shuffle"), ("conv", "interpolate")])
def test_shortcuts_alone_keep_the_mean(down: str, up: str) -> None:
    """With zero convolutions, down averages groups of unshuffled channels and up repeats: up(down) is a blur."""
    lower, raise_ = zeroed(Downsample(4, 8, down)), zeroed(Upsample(8, 4, up))  # type: ignore[arg-type]
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.pixel_unshuffle(x, 2).view(1, 8, 2, 2, 2).mean(dim=2)
    assert torch.equal(lower(x), want)
    assert tuple(raise_(lower(x)).shape) == (1, 4, 4, 4)
    assert float(raise_(lower(x)).mean()) == pytest.approx(float(x.mean()), abs=1e-6)


def test_what_the_convolutions_see() -> None:
    """Strided, one output pixel reads a 3x3 square; after enlargement, four output pixels read the same one."""
    x = torch.zeros(1, 4, 8, 8)
    x[0, 0, 3, 3] = 1.0
    down = Downsample(4, 4, "conv", shortcut=False).requires_grad_(False)
    moved = (down(x) - down(torch.zeros_like(x))).abs().sum(dim=1)[0].nonzero()
    assert moved.tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    up = Upsample(4, 4, "interpolate", shortcut=False).requires_grad_(False)
    inside = up(torch.ones(1, 4, 4, 4))[0, :, 1:-1, 1:-1]
    assert torch.allclose(inside, inside[:, :1, :1].expand_as(inside), atol=1e-6)
