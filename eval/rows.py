"""Rows of numbers by picture: cut a set into parts anywhere, merge them in any order, and the table is the same.

Letters: N rows, B of them in one batch.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


class Rows:
    """A growing table with one row a picture, ordered by the pictures' numbers.

    Without numbers, pictures are counted as they come, and a merged part follows what is there. With them (a
    shard's pictures by their place in the whole set) the order of merging does not matter, and a picture that
    comes twice is an error: padded samplers count pictures twice without a word.
    """

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._keys: list[Tensor] = []
        self._numbered: bool | None = None

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def width(self) -> int:
        """Columns of the table; ValueError while it is empty."""
        if not self._parts:
            raise ValueError("no pictures were given to this metric")
        return self._parts[0].shape[1]

    def add(self, values: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add rows (B, ...), with the numbers of their pictures or counted on.

        Raises:
            ValueError: if there is not one key a row, or only some parts have keys.
        """
        if keys is not None and len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys for {len(values)} rows: each picture has one")
        self._settle(keys is not None)
        first = len(self)
        self._keys.append(torch.arange(first, first + len(values)) if keys is None else torch.tensor(keys))
        self._parts.append(values)

    def merge(self, other: Self) -> None:
        """Add what ``other`` holds."""
        if other._numbered is None:
            return
        self._settle(other._numbered)
        shift = 0 if other._numbered else len(self)
        self._keys += [keys + shift for keys in other._keys]
        self._parts += other._parts

    def table(self) -> Tensor:
        """(N, ...), ordered by number.

        Raises:
            ValueError: if it is empty, or a number came twice.
        """
        if not self._parts:
            raise ValueError("no pictures were given to this metric")
        keys, order = torch.cat(self._keys).sort(stable=True)
        if bool((twice := keys[1:] == keys[:-1]).any()):
            number = int(keys[1:][twice][0])
            raise ValueError(
                f"picture {number} was counted twice, and {int(twice.sum())} in all: a padded sampler?"
            )
        table = torch.cat(self._parts)
        in_order = bool((order == torch.arange(len(order))).all())
        return table if in_order else table[order]

    def _settle(self, numbered: bool) -> None:
        if self._numbered not in (None, numbered):
            raise ValueError("give every part of a set its keys, or none")
        self._numbered = numbered
