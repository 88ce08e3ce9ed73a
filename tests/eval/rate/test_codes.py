"""Latents to symbols and back: values to the nearest multiple of a step, indices to themselves."""

import math

import numpy as np
import pytest
import torch

from eval.errors import NotComputedError
from eval.rate.coder import TOTAL, ideal_bits
from eval.rate.codes import IndexCode, ValueCode
from tokenizer.spec import Latent, PartSpec


def latent(seed: int, count: int = 6, channels: int = 3, side: int = 8) -> Latent:
    z = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return Latent({"z": z}, (32, 32), "ab")


def indexed(indices: torch.Tensor) -> Latent:
    return Latent({"z": torch.zeros(len(indices), 4, 4, 4)}, (32, 32), "ab", {"z": indices})


@pytest.mark.parametrize("step", [1.0, 0.25, 0.03])
def test_values_arrive_at_the_nearest_multiple(step: float) -> None:
    sent = latent(1)
    code = ValueCode.fit([latent(0, 40), sent], step)
    rows = code.rows(sent)
    assert (len(rows), len(rows[0]), rows[0][0].dtype) == (6, 3, np.int32)
    arrived = code.latent(rows, sent)
    assert (arrived.size, arrived.spec_id, arrived.z.dtype) == (sent.size, sent.spec_id, torch.float32)
    assert torch.allclose(arrived.z, (sent.z.double() / step).round().float() * step, atol=1e-6)
    assert float((arrived.z - sent.z).abs().max()) <= step / 2 + 1e-5


def test_what_lies_beyond_the_tables_is_clamped() -> None:
    code = ValueCode.fit([latent(0)], 0.5)
    far = latent(1)
    far.z[0, 1, 2, 2] = 100.0
    arrived = code.latent(code.rows(far), far).z
    highest = (code.low[1] + len(code.tables[1]) - 1) * 0.5
    assert arrived[0, 1, 2, 2] == pytest.approx(highest)
    assert highest < 10
    assert arrived[0, 1, 2, 3] == (far.z[0, 1, 2, 3] / 0.5).round() * 0.5


def test_a_normal_channel_costs_its_differential_entropy_over_the_step() -> None:
    """h(N(0, 1)) - log2(step) bits a value at fine steps (Cover and Thomas, theorem 8.3.1)."""
    step = 0.1
    code, sent = ValueCode.fit([latent(0, 200)], step), latent(1, 50)
    bits = sum(ideal_bits(rows, code.tables) for rows in code.rows(sent)) / sent.z.numel()
    assert bits == pytest.approx(0.5 * math.log2(2 * math.pi * math.e) - math.log2(step), abs=0.03)


def test_too_fine_a_step_is_not_coded() -> None:
    with pytest.raises(NotComputedError, match="step larger than 1e-06"):
        ValueCode.fit([latent(0)], 1e-6)


@pytest.mark.parametrize("shape", [(5, 4, 4), (5, 2, 4, 4), (5, 14)])
def test_indices_come_back_in_their_shape(shape: tuple[int, ...]) -> None:
    books = 2 if len(shape) == 4 else 1
    part = PartSpec(channels=4, spatial_factor=8, codebook_size=16, num_codebooks=books)
    sent = indexed(torch.randint(0, 16, shape, generator=torch.Generator().manual_seed(0)))
    code = IndexCode.fit(part, [sent])
    arrived = code.latent(code.rows(sent), sent)
    assert arrived.parts == {}
    assert torch.equal(arrived.indices["z"], sent.indices["z"])
    assert len(code.tables) == books


def test_tables_follow_the_counts() -> None:
    part = PartSpec(channels=4, spatial_factor=8, codebook_size=4)
    seen = indexed(torch.tensor([0] * 80 + [1] * 16 + [2] * 4).view(1, 10, 10))
    (found,) = IndexCode.fit(part, [seen]).tables
    expected = np.array([80.5, 16.5, 4.5, 0.5]) / 102
    assert found / TOTAL == pytest.approx(expected, abs=4 / TOTAL)


def test_codebooks_that_have_no_table() -> None:
    for size, sentence in ((2**16 + 1, "at most 65536"), (1, "at least two")):
        part = PartSpec(channels=4, spatial_factor=8, codebook_size=size)
        with pytest.raises(NotComputedError, match=sentence):
            IndexCode.fit(part, [indexed(torch.zeros(1, 4, 4, dtype=torch.int64))])
