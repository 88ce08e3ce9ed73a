"""Draws are functions of names alone."""

import torch

from tokenizer.core import seeding


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    keys = torch.tensor([seeding.key(0, i) for i in range(6)])
    whole = seeding.normal((3, 2), keys, "noise")
    assert torch.equal(seeding.normal((3, 2), keys[4:5], "noise")[0], whole[4])
    assert torch.equal(seeding.uniform(keys[2:3], "t")[0], seeding.uniform(keys, "t")[2])


def test_purposes_and_keys_are_independent() -> None:
    keys = torch.arange(2)
    assert not torch.equal(seeding.normal((4,), keys, "a"), seeding.normal((4,), keys, "b"))
    assert len({seeding.key(0, "a"), seeding.key(0, "b"), seeding.key(1, "a"), seeding.key("0a")}) == 4


def test_keys_never_change() -> None:
    """A checkpoint resumed years later must see the same data."""
    assert seeding.key(7, "order", 3) == 6099876426492485686
    assert 0 <= seeding.key("anything") < 2**63


def test_noise_is_standard_normal() -> None:
    noise = seeding.normal((1000,), torch.arange(20), "noise")
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
