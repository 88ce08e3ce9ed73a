"""Codes that nothing chooses, brought back to where the features are.

Every function gives the same answer in all processes, and the answer that one process would give for the joint
batch: rows are counted over all processes, and what is drawn comes from a key, never from global random state.

Letters: N features of this process, M of all processes, K codes, C channels.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tokenizer.core import distributed, seeding
from tokenizer.layers.nearest import blocks_of_scores, nearest

Revival = Literal["none", "reset", "cvq"]
Anchor = Literal["closest", "random", "probabilistic"]
Key = Sequence[int | str]


@torch.no_grad()
def draw_rows(h: Tensor, count: int, key: Key) -> Tensor:
    """``count`` rows of all processes' features h (N, C), none twice while there are enough: (count, C)."""
    rows = distributed.num_rows(h)
    generator = seeding.generator(*key)
    drawn = [torch.randperm(rows, generator=generator) for _ in range(-(-count // rows))]
    return distributed.take_rows(h, torch.cat(drawn)[:count].to(h.device))


@torch.no_grad()
def reset(h: Tensor, dead: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Random features for codes that are dead, each feature once.

    Where more codes are dead than there are features, the first of them are served.

    Args:
        h: features (N, C).
        dead: (K,) bool.
        key: of the draw.

    Returns:
        New codes (K, C), meaningful where the second answer, (K,) bool, says that a code is revived.

    Source: Dhariwal et al. 2020, Jukebox, arXiv 2005.00341, section 3.1 (random restarts).
    """
    slots = min(len(dead), distributed.num_rows(h))
    drawn = draw_rows(h, slots, key)
    turn = dead.long().cumsum(dim=0) - 1
    return drawn[turn.clamp(0, slots - 1)], dead & (turn < slots)


def pull(usage: Tensor, decay: float) -> Tensor:
    """How far each code moves to its anchor, (K,) in (0, 1): almost 1 if unused, almost 0 if used as others are.

    Args:
        usage: (K,) running share of the features that choose a code.
        decay: of the running share.

    Source: Zheng and Vedaldi 2023, Online Clustered Codebook, arXiv 2307.15139, section 3
    and its released code.
    """
    return torch.exp(-usage * (len(usage) * 10.0 / (1.0 - decay)) - 1e-3)


@torch.no_grad()
def anchors(h: Tensor, codebook: Tensor, anchor: Anchor, key: Key) -> Tensor:
    """A feature for every code to move to, (K, C).

    Args:
        h: features (N, C).
        codebook: (K, C).
        anchor: the feature ``closest`` to the code; a ``random`` one; or one drawn with probability
            softmax(-distance^2) over all features (``probabilistic``).
        key: of the draw.

    Source: Zheng and Vedaldi 2023, Online Clustered Codebook, arXiv 2307.15139, section 3.
    """
    if anchor == "closest":
        return _closest(h, codebook)
    if anchor == "random":
        return draw_rows(h, len(codebook), key)
    return _probable(h, codebook, key)


def _closest(h: Tensor, codebook: Tensor) -> Tensor:
    index, score = nearest(codebook, h)
    owner = distributed.stack(score).argmax(dim=0)  # (K,) the process that has it; the first of equals
    mine = (owner == distributed.process_index()).unsqueeze(1)
    return distributed.total(torch.where(mine, h[index], 0))


def _probable(h: Tensor, codebook: Tensor, key: Key) -> Tensor:
    """One draw a code by inverting the distribution over all features, process after process."""
    log_mass = torch.cat([torch.logsumexp(2.0 * scores, dim=1) for scores in blocks_of_scores(codebook, h)])
    masses = distributed.stack(log_mass.double()).softmax(dim=0)  # (P, K)
    ends = masses.cumsum(dim=0)
    level = torch.rand(len(codebook), generator=seeding.generator(*key), dtype=torch.float64).to(h.device)
    owner = (level >= ends).sum(dim=0).clamp(max=len(masses) - 1)
    process = distributed.process_index()
    inside = ((level - (ends - masses)[process]) / masses[process].clamp_min(1e-300)).clamp(0.0, 1.0)
    rows: list[Tensor] = []
    first = 0
    for scores in blocks_of_scores(codebook, h):
        ladder = (2.0 * scores).double().softmax(dim=1).cumsum(dim=1)
        steps = inside[first : first + len(scores)].unsqueeze(1)
        rows.append(torch.searchsorted(ladder, steps, right=True).squeeze(1).clamp(max=len(h) - 1))
        first += len(scores)
    mine = (owner == process).unsqueeze(1)
    return distributed.total(torch.where(mine, h[torch.cat(rows)], 0))
