"""An input is a pure function of its number: whoever has seed and number has the input."""

from collections import Counter

from eval.fuzz.corpus import KINDS
from eval.fuzz.samples import sample


def test_the_number_is_the_input() -> None:
    for index in range(40):
        assert sample(7, index) == sample(7, index)
        assert sample(7, index) != sample(8, index)


def test_every_format_comes_in_turn_and_some_are_left_as_they_are() -> None:
    found = [sample(0, index) for index in range(len(KINDS) * 30)]
    assert Counter(given.kind for given in found) == dict.fromkeys(KINDS, 30)
    whole = sum(not given.recipe for given in found)
    assert 0.04 * len(found) < whole < 0.2 * len(found)
    assert {given.kind for given in found if len(given.recipe) > 1} == set(KINDS)


def test_formats_can_be_chosen() -> None:
    assert {sample(0, index, ("avif", "npy")).kind for index in range(6)} == {"avif", "npy"}
