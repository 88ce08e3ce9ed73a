"""Rows of numbers by picture: cut a set into parts anywhere, merge them in any order, and the table is the same.

What a metric has seen is the tables among its attributes and nothing else, so ``take_rows`` can carry it to a file
and ``give_rows`` bring it back, for every metric alike.

Letters: N rows, B of them in one batch.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
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

    def take(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """(values, numbers) of what was added, batch by batch; nothing is left."""
        found = tuple(self._parts), tuple(self._keys)
        self._parts, self._keys, self._numbered = [], [], None
        return found

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


ALIASES = "aliases"


def tables_of(metric: object) -> dict[str, Rows]:
    """The tables among a metric's attributes by name, without the underscore."""
    return {name.lstrip("_"): value for name, value in vars(metric).items() if isinstance(value, Rows)}


def take_rows(metrics: Mapping[str, object]) -> dict[str, Tensor]:
    """What metrics have seen since they were made or last asked, as tensors by name; they start anew.

    Tables of the same tensors (metrics that share a network share its features) are kept once.

    Raises:
        ValueError: if a metric keeps no tables, so that its part of a set could not be kept.
    """
    state: dict[str, Tensor] = {}
    names: dict[tuple[int, ...], str] = {}
    aliases: dict[str, str] = {}
    taken = []  # keeps the tensors alive, so that their ids stay theirs
    for name, metric in metrics.items():
        tables = tables_of(metric)
        if not tables:
            raise ValueError(f"{name} keeps no rows by picture: it cannot be measured in shards")
        for attribute, rows in tables.items():
            values, keys = rows.take()
            if not values:
                continue
            taken.append(values)
            known = names.setdefault(tuple(map(id, values)), f"{name}.{attribute}")
            if known != f"{name}.{attribute}":
                aliases[f"{name}.{attribute}"] = known
                continue
            state[f"{known}.values"], state[f"{known}.keys"] = torch.cat(values), torch.cat(keys)
    return state | {ALIASES: pack_json(aliases)}


def give_rows(metrics: Mapping[str, object], state: Mapping[str, Tensor]) -> None:
    """Add what ``take_rows`` gave, here or in another process, to metrics of the same names."""
    aliases = unpack_json(state[ALIASES])
    for name, metric in metrics.items():
        for attribute, rows in tables_of(metric).items():
            known = aliases.get(f"{name}.{attribute}", f"{name}.{attribute}")
            if f"{known}.values" in state:
                rows.add(state[f"{known}.values"], state[f"{known}.keys"].tolist())


def pack_json(value: object) -> Tensor:
    """Plain data as bytes, uint8 (n,), to lie beside tensors in one file."""
    return torch.from_numpy(np.frombuffer(json.dumps(value, sort_keys=True).encode(), np.uint8).copy())


def unpack_json(data: Tensor) -> Any:  # what was given to pack_json
    """What ``pack_json`` was given."""
    return json.loads(data.numpy().tobytes())
