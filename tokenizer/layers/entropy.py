"""Entropies of binary codes whose bits are independent at each position: no table of all codes is made.

All are in nats and float32. Letters: B batch, C bits at a position, S the latent's grid, N = B * |S| positions,
G groups of bits.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from tokenizer.core import distributed

# Bits of a group whose mean distribution is held as a whole: 2^20 numbers a group.
MAX_GROUP_BITS = 20


@dataclass(frozen=True, slots=True)
class CodeEntropies:
    """What a code tells (``batch``) and what of it is undecided (``sample``); both scalars with gradient.

    Attributes:
        sample: E[H(p)], the entropy of one position's distribution over codes, mean over positions.
        batch: H(E[p]), the entropy of the mean distribution, summed over groups of bits.
    """

    sample: Tensor
    batch: Tensor


def check_group(group_bits: int, num_bits: int) -> int:
    """``group_bits`` if the mean distribution can be held for groups of that many of ``num_bits``.

    Raises:
        ValueError: if they do not divide, or a group is too large.
    """
    if group_bits < 1 or num_bits % group_bits or group_bits > MAX_GROUP_BITS:
        choices = [size for size in range(1, MAX_GROUP_BITS + 1) if num_bits % size == 0]
        raise ValueError(
            f"group_bits {group_bits} must divide the {num_bits} bits and be at most {MAX_GROUP_BITS}: "
            f"choose from {', '.join(map(str, choices))}"
        )
    return group_bits


def bit_entropy(logits: Tensor) -> Tensor:
    """Entropy of a bit that is 1 with probability sigmoid(logits), value by value, exact at any size."""
    size = logits.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)


def distribution_entropy(p: Tensor) -> Tensor:
    """-sum p log p over the last axis; the gradient stays finite where p is 0."""
    return -(p * p.clamp_min(1e-12).log()).sum(dim=-1)


def code_entropies(logits: Tensor, group_bits: int, *, over_processes: bool = False) -> CodeEntropies:
    """Both entropies of codes whose bit c is 1 with probability sigmoid(logits[:, c]).

    The first is exact, the sum over bits. The second is exact within a group of ``group_bits`` consecutive
    bits and sums over groups, an upper bound of the whole code's that is equal where groups are independent.

    Args:
        logits: (B, C, *S) float32, at least one axis in S.
        group_bits: divides C.
        over_processes: take the mean distribution over all processes; a collective, so all must ask for it.

    Source: Yu et al. 2023, Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, arXiv 2310.05737
    (the entropy penalty); Zhao et al. 2024, Image and Video Tokenization with Binary Spherical Quantization,
    arXiv 2406.07548 (that the sample term factorises over bits, and groups for the other).
    """
    sample = bit_entropy(logits).sum(dim=1).mean()
    grouped = rearrange(logits.flatten(2), "b (g d) s -> (b s) g d", d=group_bits)
    mean = mean_distribution(grouped)
    if over_processes:
        mean = distributed.mean(mean)
    return CodeEntropies(sample, distribution_entropy(mean).sum())


def mean_distribution(logits: Tensor) -> Tensor:
    """Mean over positions of the distribution over all 2^D codes of each group: (N, G, D) -> (G, 2^D).

    The two halves of a code are independent at a position, so the mean of their products is one matrix product
    of N rows, and nothing of size N * 2^D is made.
    """
    half = logits.shape[-1] // 2
    first, second = _product(logits[..., :half]), _product(logits[..., half:])
    joint = torch.einsum("ngi,ngj->gij", first, second) / logits.shape[0]
    return joint.flatten(1)


def _product(logits: Tensor) -> Tensor:
    """Each position's distribution over codes, first bit most significant: (N, G, D) -> (N, G, 2^D)."""
    p = logits.new_ones(*logits.shape[:-1], 1)
    for bit in logits.unbind(dim=-1):
        both = torch.stack([torch.sigmoid(-bit), torch.sigmoid(bit)], dim=-1)  # (N, G, 2)
        p = (p.unsqueeze(-1) * both.unsqueeze(-2)).flatten(-2)
    return p


def bit_balance(bits: Tensor) -> Tensor:
    """What a bit of a batch tells, in bits: from 0 (always the same) to 1 (half and half).

    Args:
        bits: bool (B, C, *S).

    Returns:
        Scalar, the mean over the C bits.
    """
    ones = bits.transpose(0, 1).flatten(1).float().mean(dim=1)
    return distribution_entropy(torch.stack([ones, 1.0 - ones], dim=-1)).mean() / math.log(2.0)
