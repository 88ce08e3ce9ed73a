"""Patches are what they say, in the order of rows, and come back."""

import torch

from tokenizer.layers.patches import from_patches, to_patches


def test_patches_go_by_rows_and_hold_their_square() -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    patches, grid = to_patches(x, 2)
    assert grid == (2, 3)
    assert patches.shape == (2, 6, 12)
    assert torch.equal(patches[1, 4].view(3, 2, 2), x[1, :, 2:4, 2:4])


def test_they_come_back() -> None:
    x = torch.randn(2, 5, 8, 4)
    assert torch.equal(from_patches(*to_patches(x, 4), 4), x)
