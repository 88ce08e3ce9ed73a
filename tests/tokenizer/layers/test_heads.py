"""Tokens over patches, patches on grids."""

import pytest
import torch

from tokenizer.layers.heads import as_tokens, grid_of, mlp, spread


def test_a_count_of_patches_has_the_pictures_proportions() -> None:
    assert grid_of(64, (32, 32)) == (8, 8)
    assert grid_of(32, (32, 64)) == (4, 8)
    assert grid_of(32, (64, 32)) == (8, 4)
    with pytest.raises(ValueError, match="7 tokens are no grid over a picture of 32x32"):
        grid_of(7, (32, 32))


def test_tokens_are_repeated_in_equal_shares() -> None:
    tokens = torch.arange(3.0).view(1, 3, 1)
    assert spread(tokens, 6).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert spread(tokens, 7).flatten().tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert torch.equal(spread(tokens, 3), tokens)


def test_maps_and_rows_of_patches_are_the_same_tokens() -> None:
    maps = torch.randn(2, 5, 4, 8)
    tokens, grid = as_tokens(maps, (32, 64))
    again, same = as_tokens(tokens, (32, 64))
    assert grid == same == (4, 8)
    assert torch.equal(tokens, again)
    assert torch.equal(tokens[1, 9], maps[1, :, 1, 1])


def test_the_head_has_the_widths_that_are_asked_for() -> None:
    assert mlp(4, 8, 6)(torch.zeros(2, 3, 4)).shape == (2, 3, 6)
