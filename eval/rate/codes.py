"""From latents to symbols under tables, and back: values rounded to a grid, or the indices of a codebook.

A code is fitted to some latents and used for others. Its tables belong to the tokenizer, as mean and deviation of its
channels do: they are told once, not with every picture.

Letters: B pictures, C latent channels, Q codebooks, S the latent's grid, L symbols of a table, n values of a picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.errors import NotComputedError
from eval.rate.coder import LARGEST_TABLE, Row, Table, table
from tokenizer.spec import Latent, PartSpec

HALF = 0.5  # sightings that each symbol is given beforehand (Krichevsky and Trofimov 1981)
FLAT = 0.1  # share of them that is spread evenly; the others follow a normal distribution


class Code(Protocol):
    """How a latent becomes rows of symbols."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """One for each row of a picture."""
        ...

    def rows(self, latent: Latent) -> list[list[Row]]:
        """A latent of B pictures -> the rows of each."""
        ...

    def latent(self, pictures: Sequence[Sequence[Row]], like: Latent) -> Latent:
        """What ``rows`` gave, as the latent that arrives; ``like`` has its size, shape and type."""
        ...


@dataclass(frozen=True, slots=True)
class ValueCode:
    """A continuous part, normalised and rounded to multiples of ``step``; one table a channel.

    Attributes:
        step: in standard deviations of a channel.
        low: (C,) int64, the symbol 0 of each channel in steps; what lies beyond a table is clamped.
        tables: C of them.
    """

    step: float
    low: NDArray[np.int64]
    tables: tuple[Table, ...]

    @classmethod
    def fit(cls, latents: Sequence[Latent], step: float) -> Self:
        """Tables from how often each level occurs in these latents, and in a normal distribution like theirs.

        Raises:
            NotComputedError: if a channel needs more levels than a table holds.
        """
        steps = np.concatenate([_in_steps(latent.z, step) for latent in latents], axis=1)  # (C, n)
        low, high = steps.min(axis=1) - 1, steps.max(axis=1) + 1  # one level more on either side
        if int((high - low).max()) >= LARGEST_TABLE:
            raise NotComputedError(
                f"a step larger than {step}", f"above {LARGEST_TABLE} levels nothing is learned"
            )
        return cls(
            step, low, tuple(_value_table(row, a, b) for row, a, b in zip(steps, low, high, strict=True))
        )

    def rows(self, latent: Latent) -> list[list[Row]]:
        """A latent of B pictures -> C rows of each."""
        top = np.array([len(frequencies) - 1 for frequencies in self.tables])
        found = []
        for sample in latent.z:
            symbols = _in_steps(sample.unsqueeze(0), self.step) - self.low[:, None]
            found.append(list(np.clip(symbols, 0, top[:, None]).astype(np.int32)))
        return found

    def latent(self, pictures: Sequence[Sequence[Row]], like: Latent) -> Latent:
        """The rounded values."""
        levels = np.stack([np.stack(rows) + self.low[:, None] for rows in pictures])  # (B, C, n)
        z = torch.from_numpy(levels.astype(np.float64) * self.step).reshape(len(levels), *like.z.shape[1:])
        (name,) = like.parts
        return replace(like, parts={name: z.to(like.z)}, indices={})


@dataclass(frozen=True, slots=True)
class IndexCode:
    """A discrete part; one table a codebook.

    Attributes:
        part: its name.
        tables: Q of them, of K symbols.
    """

    part: str
    tables: tuple[Table, ...]

    @classmethod
    def fit(cls, part: PartSpec, latents: Sequence[Latent]) -> Self:
        """Tables from how often each code occurs in these latents.

        Raises:
            NotComputedError: if the codebook is so large that no table of it can be learned from some pictures.
        """
        size = part.codebook_size or 0
        if size > LARGEST_TABLE:
            raise NotComputedError(
                f"codebooks of at most {LARGEST_TABLE} codes, this one has {size}",
                "beside it: log2 of the codes is what an index costs",
            )
        if size < 2:
            raise NotComputedError("at least two codes", "one code says nothing and costs nothing")
        rows = [_index_rows(latent.indices[part.name], part.num_codebooks) for latent in latents]
        flat = np.full(size, 1.0 / size)
        tables = []
        for number in range(part.num_codebooks):
            seen = np.concatenate([picture[number] for pictures in rows for picture in pictures])
            counts = np.bincount(seen, minlength=size).astype(np.int64)
            tables.append(table(counts, flat, HALF * size))
        return cls(part.name, tuple(tables))

    def rows(self, latent: Latent) -> list[list[Row]]:
        """A latent of B pictures -> Q rows of each."""
        return _index_rows(latent.indices[self.part], len(self.tables))

    def latent(self, pictures: Sequence[Sequence[Row]], like: Latent) -> Latent:
        """Indices alone, which a tokenizer decodes as well."""
        shape = like.indices[self.part].shape[1:]
        stacked = torch.from_numpy(np.stack([np.concatenate(rows) for rows in pictures]).astype(np.int64))
        indices = stacked.reshape(len(pictures), *shape).to(like.indices[self.part])
        return replace(like, parts={}, indices={self.part: indices})


def _in_steps(z: Tensor, step: float) -> NDArray[np.int64]:
    """(B, C, *S) -> (C, B * S) int64, the nearest multiples of ``step``."""
    values = z.detach().cpu().double().transpose(0, 1).flatten(1) / step
    rounded: NDArray[np.int64] = values.round().long().numpy()
    return rounded


def _value_table(steps: NDArray[np.int64], low: int, high: int) -> Table:
    """The table of one channel whose levels are low to high."""
    counts = np.bincount(steps - low, minlength=high - low + 1).astype(np.int64)
    mean, std = float(steps.mean()), max(float(steps.std()), HALF)
    edges = (np.arange(low, high + 2) - 0.5 - mean) / (std * math.sqrt(2.0))
    normal = np.diff([math.erf(edge) for edge in edges]) / 2.0
    prior = (1.0 - FLAT) * normal / normal.sum() + FLAT / len(counts)
    return table(counts, prior, HALF * len(counts))


def _index_rows(indices: Tensor, num_codebooks: int) -> list[list[Row]]:
    """(B, *S) of one codebook or (B, Q, *S) of several -> Q rows of each picture."""
    rows = indices.unsqueeze(1) if num_codebooks == 1 else indices
    array = rows.flatten(2).cpu().numpy().astype(np.int32)
    return [list(picture) for picture in array]
