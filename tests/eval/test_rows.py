"""A table by picture does not care how the set was cut, and notices a picture that comes twice."""

import itertools

import pytest
import torch

from eval.rows import Rows

TABLE = torch.arange(24.0).view(8, 3)


def part(keys: list[int]) -> Rows:
    rows = Rows()
    rows.add(TABLE[keys], keys)
    return rows


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_numbered_parts_merge_in_any_order(order: tuple[int, ...]) -> None:
    parts = [part([0, 3, 6]), part([1, 4, 7]), part([2, 5])]
    whole = Rows()
    for index in order:
        whole.merge(parts[index])
    assert torch.equal(whole.table(), TABLE)
    assert (len(whole), whole.width) == (8, 3)


def test_parts_without_numbers_follow_one_another() -> None:
    first, second = Rows(), Rows()
    first.add(TABLE[:2])
    first.add(TABLE[2:3])
    second.add(TABLE[3:])
    first.merge(second)
    first.merge(Rows())
    assert torch.equal(first.table(), TABLE)


def test_a_picture_that_comes_twice_is_an_error() -> None:
    rows = part([0, 1, 2])
    rows.merge(part([2, 3, 0]))
    with pytest.raises(ValueError, match="picture 0 was counted twice, and 2 in all"):
        rows.table()


def test_keys_are_for_all_rows_or_none() -> None:
    rows = part([0, 1])
    with pytest.raises(ValueError, match="or none"):
        rows.add(TABLE[2:3])
    with pytest.raises(ValueError, match="2 keys for 1 rows"):
        rows.add(TABLE[2:3], [2, 3])
    other = Rows()
    other.add(TABLE)
    with pytest.raises(ValueError, match="or none"):
        other.merge(rows)


def test_nothing_is_an_error() -> None:
    for ask in (Rows().table, lambda: Rows().width):
        with pytest.raises(ValueError, match="no pictures"):
            ask()
