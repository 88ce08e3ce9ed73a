"""Whose turn it is: which kind every batch of a run is of, at set shares, as a function of its number.

Batches are of one shape, so pictures, clips of one length and clips of one aspect come in batches of their own.
"""

import math
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from tokenizer.core import seeding
from tokenizer.data.images import Sample

ROUND = 100  # batches after which the order of kinds begins again; shares are met in each round


class Turns:
    """A round of batches in which every kind has its share, over and over, in an order drawn once.

    Args:
        shares: of each kind, in any unit.
        seed: names the order.

    Raises:
        ValueError: if there is no share, or one is negative.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        total = sum(shares)
        if not total > 0 or min(shares) < 0:
            raise ValueError(f"shares must be at least 0 and not all 0: {list(shares)}")
        counts = _whole([share / total for share in shares], max(ROUND, 4 * len(shares)))
        kinds = torch.tensor([kind for kind, count in enumerate(counts) for _ in range(count)])
        order = torch.randperm(len(kinds), generator=seeding.generator(seed, "turns"))
        self._round: list[int] = kinds[order].tolist()
        self._counts = counts
        seen = [0] * len(counts)
        self._before: list[int] = []
        for kind in self._round:
            self._before.append(seen[kind])
            seen[kind] += 1

    def at(self, batch: int) -> tuple[int, int]:
        """The kind of a batch, and how many of that kind came before it."""
        rounds, place = divmod(batch, len(self._round))
        kind = self._round[place]
        return kind, rounds * self._counts[kind] + self._before[place]


class Mixture(Dataset[Sample]):
    """Several endless sequences as one: item p is what training position p sees, all of a batch from one sequence.

    Args:
        kinds: sequences, each by its own position.
        shares: of the batches that each has.
        seed: names the order in which they take turns.
        batch: positions of a step, over all processes.
        begin: the first position of the phase; steps are counted from it.
    """

    def __init__(
        self,
        kinds: Sequence[Dataset[Sample]],
        shares: Sequence[float],
        seed: int,
        *,
        batch: int,
        begin: int = 0,
    ) -> None:
        self.kinds = kinds
        self.turns = Turns(shares, seed)
        self.batch, self.begin = batch, begin

    def __getitem__(self, position: int) -> Sample:
        step, place = divmod(position - self.begin, self.batch)
        kind, before = self.turns.at(step)
        return self.kinds[kind][before * self.batch + place]


def _whole(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that add up to ``total``, as near to the shares as can be; a share above 0 gets at least one."""
    counts = [max(math.floor(share * total), 1 if share > 0 else 0) for share in shares]
    short = sorted(range(len(shares)), key=lambda kind: (counts[kind] - shares[kind] * total, kind))
    for place in range(max(0, total - sum(counts))):
        counts[short[place % len(short)]] += 1
    return counts
