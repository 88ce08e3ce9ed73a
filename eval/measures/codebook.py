"""How much of a codebook is used: counts of indices over a whole set of pictures.

Letters: B pictures, Q codebooks, S the latent's grid, L tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tokenizer.spec import PartSpec


@dataclass(frozen=True, slots=True)
class CodebookUse:
    """One codebook over a set of pictures.

    Attributes:
        size: codes there are.
        used: codes that occurred.
        num_tokens: indices that were counted; no more codes than these can occur.
        perplexity: exp of the entropy of the counts in nats: as many equally frequent codes would be as uncertain.
    """

    size: int
    used: int
    num_tokens: int
    perplexity: float

    @property
    def share(self) -> float:
        """Codes that occurred, of those that could in so many tokens."""
        return self.used / min(self.size, self.num_tokens)

    @property
    def dead(self) -> int:
        """Codes that never occurred."""
        return self.size - self.used

    @property
    def entropy_bits(self) -> float:
        """Bits of an index whose frequencies are those that were counted. Where pictures are few it is too low: a
        table of counts fits what it was counted from.
        """
        return math.log2(self.perplexity)


class CodebookCounts:
    """Counts the indices of one part of a latent; only codes that occur take memory.

    Args:
        part: discrete.

    Raises:
        ValueError: if the part is continuous.
    """

    def __init__(self, part: PartSpec) -> None:
        if part.codebook_size is None:
            raise ValueError(f"part {part.name!r} is continuous; it has no codebook")
        self.size = part.codebook_size
        self.num_codebooks = part.num_codebooks
        empty = torch.zeros(0, dtype=torch.int64)
        self._seen = [(empty, empty) for _ in range(self.num_codebooks)]

    def add(self, indices: Tensor) -> None:
        """Count int64 indices: (B, *S) or (B, L) of one codebook, (B, Q, *S) of several."""
        rows = indices.unsqueeze(1) if self.num_codebooks == 1 else indices
        if rows.shape[1] != self.num_codebooks:
            raise ValueError(
                f"{self.num_codebooks} codebooks need indices (B, Q, ...), got {tuple(indices.shape)}"
            )
        for number, row in enumerate(rows.unbind(1)):
            codes, counts = torch.unique(row.cpu(), return_counts=True)
            self._count(number, codes, counts)

    def merge(self, other: Self) -> None:
        """Add what ``other`` counted; ValueError if it is of another kind of codebook."""
        if (self.size, self.num_codebooks) != (other.size, other.num_codebooks):
            raise ValueError(
                f"counts of {other.num_codebooks} codebooks of {other.size} codes do not add up with those of "
                f"{self.num_codebooks} of {self.size}"
            )
        self.add_state(other.state())

    def state(self) -> dict[str, Tensor]:
        """All of it, int64: the codes of each codebook that occurred, and how often."""
        found: dict[str, Tensor] = {}
        for number, (codes, counts) in enumerate(self._seen):
            found |= {f"codes_{number}": codes.clone(), f"counts_{number}": counts.clone()}
        return found

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        """Add what ``state`` was taken from."""
        for number in range(self.num_codebooks):
            self._count(number, state[f"codes_{number}"], state[f"counts_{number}"])

    def compute(self) -> list[CodebookUse]:
        """One entry a codebook; ValueError if nothing was counted."""
        return [self._use(counts) for _, counts in self._seen]

    def _count(self, number: int, codes: Tensor, counts: Tensor) -> None:
        before, before_counts = self._seen[number]
        merged, place = torch.unique(torch.cat([before, codes]), return_inverse=True)
        totals = torch.zeros_like(merged).index_add_(0, place, torch.cat([before_counts, counts]))
        self._seen[number] = (merged, totals)

    def _use(self, counts: Tensor) -> CodebookUse:
        total = int(counts.sum())
        if total == 0:
            raise ValueError("no indices were counted")
        share = counts.double() / total
        perplexity = math.exp(float(-(share * share.log()).sum()))
        return CodebookUse(self.size, len(counts), total, perplexity)
