"""Rows behind a grid: learned places for any prefix, no rotation, and the grid's own positions untouched."""

import torch

from tokenizer.layers.rows import RowPositions, causal_row, spread, with_row
from tokenizer.layers.transformer import LearnedPositions, RotaryPositions, angles_at

WIDTH, GRID = 8, (2, 3)


def test_a_prefix_of_the_row_has_the_places_of_the_whole() -> None:
    torch.manual_seed(0)
    positions = RowPositions(LearnedPositions(WIDTH, 4), 5, WIDTH)
    tokens = torch.randn(2, 6 + 5, WIDTH)
    whole, angles = positions(tokens, GRID)
    short, _ = positions(tokens[:, : 6 + 3], GRID)
    assert angles is None
    assert torch.equal(short, whole[:, : 6 + 3])
    torch.testing.assert_close(whole[:, 6:] - tokens[:, 6:], positions.table.expand(2, -1, -1))
    grid, _ = positions.grid_positions(tokens[:, :6], GRID)
    assert torch.equal(whole[:, :6], grid)


def test_the_row_does_not_turn() -> None:
    positions = RowPositions(RotaryPositions(4), 5, WIDTH)
    tokens = torch.zeros(1, 6 + 2, WIDTH)
    _, angles = positions(tokens, GRID)
    assert angles.shape == (8, 2)
    assert (angles[:6] != 0).any()
    assert (angles[6:] == 0).all()
    assert with_row(None, 4) is None


def test_placed_tokens_turn_as_patches_there_would_and_cover_the_picture() -> None:
    positions = RowPositions(RotaryPositions(4), 5, WIDTH, placed=True)
    _, angles = positions(torch.zeros(1, 6 + 5, WIDTH), GRID)
    torch.testing.assert_close(angles[6:], angles_at(spread(5, GRID), 4))
    places = spread(32, (8, 8))
    assert torch.equal(spread(3, (8, 8)), places[:3])  # a prefix stands where it stood
    for count in (5, 16, 32):
        quarters = {(bool(row > 3.5), bool(column > 3.5)) for row, column in places[:count].tolist()}
        assert len(quarters) == 4


def test_a_causal_row_sees_the_patches_and_what_came_before() -> None:
    mask = causal_row(2, 3, torch.device("cpu"))
    assert mask.int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]
