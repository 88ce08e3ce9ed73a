"""Entropies of an assignment: closed form, any block size, and gradients that decide and spread."""

import math

import pytest
import torch

from tokenizer.layers.assignment import assignment_entropies


def draw(rows: int = 12, codes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 3, generator=generator), torch.randn(codes, 3, generator=generator)


def test_both_entropies_are_those_of_the_table() -> None:
    rows, codes = draw()
    bias = -0.5 * codes.square().sum(dim=1)
    p = ((rows @ codes.T + bias) / 0.5).softmax(dim=1)
    got = assignment_entropies(rows, codes, temperature=0.5, bias=bias)
    assert got.sample.item() == pytest.approx(torch.special.entr(p).sum(dim=1).mean().item(), rel=1e-5)
    assert got.batch.item() == pytest.approx(torch.special.entr(p.mean(dim=0)).sum().item(), rel=1e-5)


def test_the_bias_of_half_the_squared_norm_makes_the_nearest_code_the_likeliest() -> None:
    rows, codes = draw()
    nearest = torch.cdist(rows, codes).argmin(dim=1)
    likeliest = (rows @ codes.T - 0.5 * codes.square().sum(dim=1)).argmax(dim=1)
    assert torch.equal(nearest, likeliest)


def test_blocks_change_neither_values_nor_gradients() -> None:
    found = []
    for block in (5, 20, 2**26):
        rows, codes = (value.requires_grad_() for value in draw())
        out = assignment_entropies(rows, codes, temperature=0.3, block=block)
        (out.sample - out.batch).backward()
        found.append((out.sample.detach(), out.batch.detach(), rows.grad, codes.grad))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)


def test_bounds_are_reached() -> None:
    codes = torch.eye(4)
    even = assignment_entropies(100 * codes, codes, temperature=1.0)  # each feature one code, all codes used
    assert even.sample.item() == pytest.approx(0.0, abs=1e-5)
    assert even.batch.item() == pytest.approx(math.log(4), rel=1e-5)
    unsure = assignment_entropies(torch.zeros(3, 4), codes, temperature=1.0)
    assert unsure.sample.item() == pytest.approx(math.log(4), rel=1e-5)
