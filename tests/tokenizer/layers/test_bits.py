"""Bits and indices are one to one, up to the last of 32 bits."""

import pytest
import torch

from tokenizer.layers.bits import bits_per_index, pack_bits, signs, unpack_bits


def random_bits(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.mark.parametrize(
    ("num_bits", "num_codebooks"), [(1, 1), (5, 1), (18, 1), (31, 1), (32, 1), (36, 2), (64, 2), (6, 3)]
)
@pytest.mark.parametrize("grid", [(7,), (3, 5), (2, 3, 2)], ids=str)
def test_bits_go_to_indices_and_back(num_bits: int, num_codebooks: int, grid: tuple[int, ...]) -> None:
    bits = random_bits(2, num_bits, *grid)
    indices = pack_bits(bits, num_codebooks)
    assert indices.dtype == torch.int64
    assert tuple(indices.shape) == ((2, *grid) if num_codebooks == 1 else (2, num_codebooks, *grid))
    assert int(indices.min()) >= 0
    assert int(indices.max()) < 2 ** (num_bits // num_codebooks)
    assert torch.equal(unpack_bits(indices, num_bits, num_codebooks), bits)


def test_every_index_of_a_small_codebook_comes_back() -> None:
    indices = torch.arange(2**6).view(1, -1)
    assert torch.equal(pack_bits(unpack_bits(indices, 6)), indices)


def test_the_first_bit_is_the_most_significant() -> None:
    bits = torch.tensor([True, False, False]).view(1, 3, 1)
    assert pack_bits(bits).item() == 4
    assert pack_bits(torch.ones(1, 32, 1, dtype=torch.bool)).item() == 2**32 - 1


def test_codebooks_take_consecutive_bits() -> None:
    bits = torch.tensor([True, True, False, True]).view(1, 4, 1)
    assert pack_bits(bits, 2).flatten().tolist() == [3, 1]


def test_signs() -> None:
    assert signs(torch.tensor([True, False]), 0.5).tolist() == [0.5, -0.5]


def test_what_does_not_fit_is_refused_with_choices() -> None:
    assert bits_per_index(36, 2) == 18
    with pytest.raises(ValueError, match="latent_channels 7 must be a multiple of num_codebooks 2"):
        bits_per_index(7, 2)
    with pytest.raises(ValueError, match="36 bits does not fit 32.* from 2, 3, 4, 6"):
        bits_per_index(36, 1)
