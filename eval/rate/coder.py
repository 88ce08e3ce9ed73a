"""Symbols to words and back by a range coder, under tables of integer frequencies.

The coder is that of the ``constriction`` package. Frequencies are integers that sum to a power of two, so that both
sides compute the same intervals on every machine: floats that differ in their last bit would garble all that follows.

Source: Martin 1979, Range encoding: an algorithm for removing redundancy from a digitised message, Video & Data
Recording Conference; Bamler 2022, Understanding Entropy Coding With Asymmetric Numeral Systems, arXiv 2201.01741
(the package).

Letters: L symbols of a table, n symbols of a row.
"""

from collections.abc import Sequence
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.errors import NotComputedError

TOTAL = 2**22
LARGEST_TABLE = 2**16

Table = NDArray[np.uint32]
Row = NDArray[np.int32]
Words = NDArray[np.uint32]


def name() -> str:
    """What codes, for people.

    Raises:
        NotComputedError: without the package.
    """
    _package()
    return f"range coder of constriction {version('constriction')}, 32-bit words, order-0 tables"


def table(counts: NDArray[np.int64], prior: NDArray[np.float64], mass: float) -> Table:
    """Frequencies (L,) that sum to ``TOTAL``, all of them at least 1: a symbol that was never seen can be coded.

    Args:
        counts: (L,) how often each symbol was seen.
        prior: (L,) what is believed before; sums to 1.
        mass: how many sightings that belief is worth.

    Raises:
        ValueError: if there are fewer than two symbols, or more than a table may have.
    """
    if not 2 <= len(counts) <= LARGEST_TABLE:
        raise ValueError(f"a table has 2 to {LARGEST_TABLE} symbols, not {len(counts)}")
    expected = (counts + mass * prior) / (counts.sum() + mass)
    exact = expected / expected.sum() * (TOTAL - len(counts))
    found = np.floor(exact).astype(np.int64) + 1
    rest = TOTAL - int(found.sum())
    found[np.argsort(np.floor(exact) - exact, kind="stable")[:rest]] += 1  # the largest remainders
    frequencies: Table = found.astype(np.uint32)
    return frequencies


def encode(rows: Sequence[Row], tables: Sequence[Table]) -> Words:
    """Rows of symbols, each under its table, as one stream."""
    encoder = _package().stream.queue.RangeEncoder()
    for row, frequencies in zip(rows, tables, strict=True):
        encoder.encode(np.ascontiguousarray(row, dtype=np.int32), _model(frequencies))
    words: Words = encoder.get_compressed()
    return words


def decode(words: Words, tables: Sequence[Table], lengths: Sequence[int]) -> list[Row]:
    """The rows that ``encode`` was given, so many symbols each.

    Raises:
        ValueError: if the stream was not used up, so that it is not one of these tables and lengths.
    """
    decoder = _package().stream.queue.RangeDecoder(np.ascontiguousarray(words, dtype=np.uint32))
    rows: list[Row] = [
        decoder.decode(_model(frequencies), length)
        for frequencies, length in zip(tables, lengths, strict=True)
    ]
    if not decoder.maybe_exhausted():
        raise ValueError("the stream holds more than these rows: it was written with other tables")
    return rows


def ideal_bits(rows: Sequence[Row], tables: Sequence[Table]) -> float:
    """What the symbols cost under their tables, -log2 of their shares: a coder needs hardly more."""
    return float(
        sum(
            -np.log2(frequencies[row].astype(np.float64) / TOTAL).sum()
            for row, frequencies in zip(rows, tables, strict=True)
        )
    )


def _model(frequencies: Table) -> Any:  # the package has no types
    return _package().stream.model.Categorical(frequencies.astype(np.float64) / TOTAL, perfect=False)


def _package() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise NotComputedError(
            "the package constriction", "beside the others: pip install '.[eval]'"
        ) from None
    found: ModuleType = constriction
    return found
