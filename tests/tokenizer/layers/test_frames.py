"""Clips as pictures and back."""

import torch

from tokenizer.layers.frames import fold, unfold


def test_frames_fold_in_the_order_of_time_and_come_back() -> None:
    x = torch.randn(2, 3, 5, 4, 6)
    frames = fold(x)
    assert torch.equal(frames[1], x[0, :, 1])
    assert torch.equal(frames[5], x[1, :, 0])
    assert torch.equal(unfold(frames, 2), x)


def test_pictures_stay_as_they_are() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert fold(x) is x
