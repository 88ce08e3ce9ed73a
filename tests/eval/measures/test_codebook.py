"""Counts against index sets made by hand and against bincount."""

import math

import pytest
import torch

from eval.measures.codebook import CodebookCounts
from tokenizer.spec import PartSpec


def part(size: int, num: int = 1, scales: tuple[int, ...] | None = None) -> PartSpec:
    return PartSpec(channels=4, spatial_factor=8, codebook_size=size, num_codebooks=num, scales=scales)


def test_a_hand_made_set() -> None:
    counts = CodebookCounts(part(16))
    counts.add(torch.tensor([[[0, 0], [3, 3]]]))  # (B, H, W)
    counts.add(torch.tensor([[[3, 3], [15, 15]]]))
    (use,) = counts.compute()
    entropy = -(0.25 * math.log(0.25) * 2 + 0.5 * math.log(0.5))
    assert (use.size, use.used, use.num_tokens) == (16, 3, 8)
    assert use.perplexity == pytest.approx(math.exp(entropy))
    assert use.share == 3 / 8  # eight tokens cannot hold more than eight of the sixteen codes


def test_uniform_use_has_the_perplexity_of_the_size_and_one_code_that_of_one() -> None:
    counts = CodebookCounts(part(64))
    counts.add(torch.arange(64).repeat(3).view(3, 8, 8))
    (use,) = counts.compute()
    assert (use.used, use.share) == (64, 1.0)
    assert use.perplexity == pytest.approx(64)
    counts = CodebookCounts(part(64))
    counts.add(torch.full((3, 8, 8), 7))
    assert counts.compute()[0].perplexity == pytest.approx(1)


def test_codebooks_are_counted_one_by_one() -> None:
    counts = CodebookCounts(part(4, 2))
    indices = torch.zeros(5, 2, 3, 3, dtype=torch.int64)  # (B, Q, H, W)
    indices[:, 1] = torch.arange(9).view(3, 3) % 4
    counts.add(indices)
    first, second = counts.compute()
    assert (first.used, second.used) == (1, 4)
    assert (first.num_tokens, second.num_tokens) == (45, 45)


def test_scales_are_one_codebook() -> None:
    counts = CodebookCounts(part(32, scales=(1, 2, 3)))
    counts.add(torch.arange(14).view(1, 14))  # (B, L)
    assert counts.compute()[0].used == 14


def test_batches_add_up_to_bincount() -> None:
    generator = torch.Generator().manual_seed(0)
    indices = (torch.rand(40, 6, 6, generator=generator).square() * 100).long()
    counts = CodebookCounts(part(100))
    for batch in indices.split(7):
        counts.add(batch)
    (use,) = counts.compute()
    share = torch.bincount(indices.flatten(), minlength=100).double() / indices.numel()
    entropy = -torch.xlogy(share, share).sum()
    assert use.used == int((share > 0).sum())
    assert use.perplexity == pytest.approx(float(entropy.exp()))


def test_the_largest_codebooks_take_no_memory() -> None:
    counts = CodebookCounts(part(2**32))
    counts.add(torch.tensor([[[0, 2**32 - 1]]]))
    assert counts.compute()[0].used == 2


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="continuous"):
        CodebookCounts(PartSpec(channels=4))
    with pytest.raises(ValueError, match="no indices"):
        CodebookCounts(part(4)).compute()
    with pytest.raises(ValueError, match="2 codebooks"):
        CodebookCounts(part(4, 2)).add(torch.zeros(1, 3, 3, dtype=torch.int64))


def test_parts_add_up_through_their_state() -> None:
    indices = torch.randint(0, 20, (9, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    whole, merged = CodebookCounts(part(20, 2)), CodebookCounts(part(20, 2))
    whole.add(indices)
    for batch in indices.split(4):
        piece = CodebookCounts(part(20, 2))
        piece.add(batch)
        merged.merge(piece)
    assert merged.compute() == whole.compute()
    with pytest.raises(ValueError, match="do not add up"):
        merged.merge(CodebookCounts(part(21, 2)))


def test_dead_codes_and_bits() -> None:
    counts = CodebookCounts(part(16))
    counts.add(torch.tensor([[[0, 0], [1, 1]]]))
    (use,) = counts.compute()
    assert (use.dead, use.entropy_bits) == (14, pytest.approx(1.0))
