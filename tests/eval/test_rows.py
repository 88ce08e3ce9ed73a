"""A table by picture does not care how the set was cut, and notices a picture that comes twice."""

import itertools

import pytest
import torch

from eval.rows import Rows, give_rows, pack_json, tables_of, take_rows, unpack_json

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


class Sharing:
    """Two tables; a metric in little."""

    def __init__(self) -> None:
        self._real = Rows()
        self.fake = Rows()


def test_what_metrics_saw_goes_through_tensors_and_comes_back() -> None:
    first, second, keys = Sharing(), Sharing(), [3, 5]
    real, fake = TABLE[:2], TABLE[2:4]
    for metric in (first, second):
        metric._real.add(real, keys)  # the same tensor, as of a network that both share
        metric.fake.add(fake.clone(), keys)
    state = take_rows({"a": first, "b": second})
    assert set(state) == {
        *(f"{name}.{kind}" for name in ("a.real", "a.fake", "b.fake") for kind in ("values", "keys")),
        "aliases",
    }
    assert [len(rows) for rows in tables_of(first).values()] == [0, 0]
    metrics = {"a": Sharing(), "b": Sharing()}
    give_rows(metrics, take_rows({"a": first, "b": second}))  # nothing
    give_rows(metrics, state)
    for metric in metrics.values():
        metric._real.add(TABLE[4:5], [4])
        assert torch.equal(metric._real.table(), TABLE[[0, 4, 1]])
        assert torch.equal(metric.fake.table(), TABLE[2:4])


def test_a_metric_whose_rows_cannot_be_found_is_an_error() -> None:
    with pytest.raises(ValueError, match="sums keeps no rows"):
        take_rows({"sums": object.__new__(type("Sums", (), {}))})


def test_plain_data_lies_beside_tensors() -> None:
    value = {"skipped": ["a/b.png: cut"], "seconds": 0.1}
    assert unpack_json(pack_json(value)) == value
