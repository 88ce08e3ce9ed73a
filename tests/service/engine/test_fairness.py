"""Turns: equal seconds for all who wait, whatever one turn costs, and nothing for having idled."""

from collections import Counter

import pytest

from service.engine.fairness import FairShares


def spent(costs: dict[str, float], turns: int) -> Counter[str]:
    """Seconds by key after so many turns in which all keys always wait."""
    shares: FairShares[str] = FairShares()
    seconds: Counter[str] = Counter()
    for _ in range(turns):
        key = shares.choose(list(costs))
        shares.charge(key, costs[key])
        seconds[key] += costs[key]  # type: ignore[assignment]  # Counter counts seconds too
    return seconds


def test_dear_and_cheap_turns_get_the_same_seconds() -> None:
    seconds = spent({"small": 0.01, "large": 0.16, "steps": 0.05}, 2000)
    assert max(seconds.values()) - min(seconds.values()) <= 0.16 + 1e-9  # never further apart than one turn


def test_equal_turns_alternate_in_order_of_arrival() -> None:
    shares: FairShares[str] = FairShares()
    order = []
    for _ in range(6):
        key = shares.choose(["a", "b"])
        shares.charge(key, 1.0)
        order.append(key)
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_idling_saves_nothing_up_and_costs_nothing() -> None:
    shares: FairShares[str] = FairShares()
    for _ in range(100):
        shares.charge(shares.choose(["a"]), 1.0)
    order = []
    for _ in range(10):  # b has idled for 100 seconds of a: it gets every second turn, not the next hundred
        key = shares.choose(["a", "b"])
        shares.charge(key, 1.0)
        order.append(key)
    assert order.count("b") == 5


@pytest.mark.parametrize("others", [1, 7])
def test_a_newcomer_waits_for_one_turn_of_each_other_at_most(others: int) -> None:
    shares: FairShares[str] = FairShares()
    names = [f"k{number}" for number in range(others)]
    for _ in range(50):
        shares.charge(shares.choose(names), 1.0)
    waited = 0
    while (key := shares.choose([*names, "new"])) != "new":
        shares.charge(key, 1.0)
        waited += 1
    assert waited <= others


def test_keys_that_are_gone_are_forgotten() -> None:
    shares: FairShares[int] = FairShares()
    for number in range(1000):
        shares.charge(shares.choose([number]), 0.5)
    assert len(shares._served) <= 2
