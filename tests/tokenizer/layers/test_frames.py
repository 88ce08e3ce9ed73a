"""Clips as pictures and back."""

import torch
from torch import nn

from tokenizer.layers.frames import PerFrame, fold, unfold


def test_frames_fold_in_the_order_of_time_and_come_back() -> None:
    x = torch.randn(2, 3, 5, 4, 6)
    frames = fold(x)
    assert torch.equal(frames[1], x[0, :, 1])
    assert torch.equal(frames[5], x[1, :, 0])
    assert torch.equal(unfold(frames, 2), x)


def test_pictures_stay_as_they_are() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert fold(x) is x


def test_a_module_for_pictures_sees_every_frame_alone() -> None:
    module = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 5, 8, 6)
    out = PerFrame(module)(x)
    assert out.shape == (2, 4, 5, 4, 3)
    torch.testing.assert_close(out[:, :, 3], module(x[:, :, 3]))
