"""The table of names works in both directions and knows what it does not know."""

import pytest
import torch

from tokenizer.adapters.diffusers.keys import KeyTable, Pair

TABLE = KeyTable(
    [
        Pair("down.#.resnets.#.shortcut.", "levels.#.#.skip."),
        Pair("down.#.resnets.#.", "levels.#.#."),
        Pair("conv_in.", "stem."),
    ]
)
PAIRS = [
    ("down.0.resnets.11.shortcut.weight", "levels.0.11.skip.weight"),
    ("down.3.resnets.1.conv1.bias", "levels.3.1.conv1.bias"),
    ("conv_in.weight", "stem.weight"),
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_a_key_goes_over_and_comes_back(theirs: str, ours: str) -> None:
    tensor = torch.zeros(1)
    there = TABLE.to_ours({theirs: tensor})
    assert list(there) == [ours]
    assert there[ours] is tensor
    assert list(TABLE.to_theirs(there)) == [theirs]


@pytest.mark.parametrize("key", ["up.0.weight", "down.x.resnets.0.weight", "xconv_in.weight"])
def test_an_unknown_key_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"no rule for the tensor '{key}'"):
        TABLE.to_ours({key: torch.zeros(1)})
