"""Where models are and which may leave: estimates, the budget, dependence, and who was used least recently."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from service.engine.messages import ModelLoaded
from service.errors import ModelFailed
from service.registry import Key
from service.residence import Residences

SIZES: dict[Key, int] = {
    ("tokenizer", "t"): 10,
    ("tokenizer", "u"): 20,
    ("generator", "g"): 30,
    ("generator", "p"): 40,
}


class Shelf:
    """A registry of four models; g needs t, p needs none."""

    known = list(SIZES)

    def needs(self, key: Key) -> list[Key]:
        return [("tokenizer", "t"), key] if key[1] == "g" else [key]

    def model(self, key: Key) -> SimpleNamespace:
        return SimpleNamespace(weights_bytes=SIZES[key], path=Path(key[1]))


def residences(budget: int = 0) -> Residences:
    return Residences(Shelf(), budget)  # type: ignore[arg-type]  # what of a registry is used


def load(at: Residences, kind: str, name: str, size: int | None = None) -> None:
    key = (kind, name)
    at[key].loaded(ModelLoaded(kind, name, size or SIZES[key], 0.5))  # type: ignore[arg-type, index]  # kinds above


def test_without_a_budget_all_are_first() -> None:
    at = residences()
    assert at.first() == list(SIZES)
    assert {at[key].state for key in SIZES} == {"loading"}


@pytest.mark.parametrize(
    ("budget", "names"), [(100, "tugp"), (60, "tug"), (59, "tu"), (45, "tu"), (25, "t"), (9, "")]
)
def test_first_come_those_that_fit(budget: int, names: str) -> None:
    assert "".join(name for _, name in residences(budget).first()) == names


def test_a_generator_is_first_only_with_its_tokenizer() -> None:
    at = residences(39)
    assert at.fits([("generator", "g")])
    assert not at.fits([("tokenizer", "t"), ("generator", "g")])
    assert ("generator", "g") not in at.first()


def test_memory_is_what_was_told_and_estimates_learn_from_it() -> None:
    at = residences(50)
    load(at, "tokenizer", "t", 15)
    assert at.memory_bytes == 15
    assert at.has_room(("generator", "g"))
    assert not at.has_room(("generator", "p"))
    at["tokenizer", "t"].gone()
    assert (at.memory_bytes, at.estimate(("tokenizer", "t"))) == (0, 15)
    assert at["tokenizer", "t"].state == "unloaded"


def test_the_least_recently_used_leaves_and_nobody_who_is_needed() -> None:
    at = residences(100)
    for key in SIZES:
        load(at, *key)
    for moment, key in enumerate(SIZES):
        at[key].used_at = float(moment)
    assert at.needing(("tokenizer", "t")) == [("generator", "g")]
    assert at.least_recently_used([]) == ("tokenizer", "u")  # t decodes for g
    assert at.least_recently_used([("tokenizer", "u")]) == ("generator", "g")
    at["tokenizer", "u"].users = 1
    at["generator", "g"].gone()
    assert at.least_recently_used([]) == ("tokenizer", "t")
    for key in SIZES:
        at[key].users = 1
    assert at.least_recently_used([]) is None


def test_a_failure_stays_until_the_next_load() -> None:
    at = residences()["tokenizer", "t"]
    at.failed(ModelFailed("why"))
    at.gone()
    assert at.state == "failed"
    at.loaded(ModelLoaded("tokenizer", "t", 1, 0.1))
    assert (at.state, at.error) == ("loaded", None)
