"""Every kind of batch has its share, each kind's own positions are gone through without gaps, at any batch."""

from collections import Counter

import pytest
import torch
from torch.utils.data import Dataset

from tokenizer.data.images import Sample, make_sample
from tokenizer.data.turns import Mixture, Turns


class Numbers(Dataset[Sample]):
    """Says its kind in the label and its position in the index."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 7

    def __getitem__(self, position: int) -> Sample:
        return make_sample(torch.zeros(self.kind + 1, 2, 2, 3), self.kind, position, 0)


@pytest.mark.parametrize("shares", [(1, 1), (0.25, 0.75), (1, 2, 4), (0.001, 0.999), (0, 3)])
def test_shares_are_met(shares: tuple[float, ...]) -> None:
    turns = Turns(shares, seed=1)
    counts = Counter(turns.at(batch)[0] for batch in range(1000))
    for kind, share in enumerate(shares):
        assert counts[kind] / 1000 == pytest.approx(share / sum(shares), abs=0.011)
        assert (counts[kind] > 0) == (share > 0)


def test_each_kind_counts_on_without_gaps() -> None:
    turns = Turns((1, 2, 2), seed=5)
    seen: list[list[int]] = [[], [], []]
    for batch in range(350):
        kind, before = turns.at(batch)
        seen[kind].append(before)
    assert all(numbers == list(range(len(numbers))) for numbers in seen)


def test_a_batch_is_of_one_kind_and_a_position_says_which() -> None:
    mixture = Mixture([Numbers(0), Numbers(1)], (1, 1), seed=2, batch=4, begin=12)
    for step in range(30):
        samples = [mixture[12 + 4 * step + place] for place in range(4)]
        kind, before = mixture.turns.at(step)
        assert [int(sample["label"]) for sample in samples] == [kind] * 4
        assert [int(sample["index"]) for sample in samples] == [4 * before + place for place in range(4)]
        assert len({sample["data"].shape for sample in samples}) == 1
    again = Mixture([Numbers(0), Numbers(1)], (1, 1), seed=2, batch=4, begin=12)
    assert int(again[77]["index"]) == int(mixture[77]["index"])


@pytest.mark.parametrize("shares", [(0, 0), (1, -1), ()])
def test_shares_that_are_none(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shares must"):
        Turns(shares, seed=0)
