"""Renaming the tensors of a state dict by a table that is read in both directions."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor


class Pair(NamedTuple):
    """The start of a key in their layout and in ours; every ``#`` stands for the same number in both."""

    theirs: str
    ours: str


class KeyTable:
    """Renames keys by the first pair that fits; the rest of the key stays.

    Args:
        pairs: the most specific first; no pair may be the start of an earlier one's key.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        rows = list(pairs)
        self._to_ours = [(_pattern(row.theirs), _template(row.ours)) for row in rows]
        self._to_theirs = [(_pattern(row.ours), _template(row.theirs)) for row in rows]

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their state dict under our names.

        Raises:
            ValueError: naming a key that the table does not know.
        """
        return {_rename(key, self._to_ours): tensor for key, tensor in tensors.items()}

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict under their names.

        Raises:
            ValueError: naming a key that the table does not know.
        """
        return {_rename(key, self._to_theirs): tensor for key, tensor in tensors.items()}


def _pattern(start: str) -> re.Pattern[str]:
    return re.compile(re.escape(start).replace(re.escape("#"), r"(\d+)"))


def _template(start: str) -> str:
    return start.replace("#", "{}")


def _rename(key: str, rows: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, template in rows:
        if match := pattern.match(key):
            return template.format(*match.groups()) + key[match.end() :]
    raise ValueError(f"no rule for the tensor {key!r}")
