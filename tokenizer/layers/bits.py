"""Bits to whole numbers and back, exact for indices of up to 32 bits.

Letters: B batch, C bits at a position, Q codebooks, D = C / Q bits of an index, S the latent's grid.
"""

import torch
from einops import rearrange
from torch import Tensor

MAX_BITS = 32


def bits_per_index(num_bits: int, num_codebooks: int) -> int:
    """D, the bits of one index where ``num_bits`` latent channels are split over ``num_codebooks``.

    Raises:
        ValueError: if they do not divide, or an index would not fit 32 bits.
    """
    if num_bits % num_codebooks:
        raise ValueError(f"latent_channels {num_bits} must be a multiple of num_codebooks {num_codebooks}")
    size = num_bits // num_codebooks
    if size > MAX_BITS:
        fitting = [n for n in range(1, num_bits + 1) if num_bits % n == 0 and num_bits // n <= MAX_BITS]
        raise ValueError(
            f"an index of {size} bits does not fit {MAX_BITS}: for {num_bits} latent_channels choose num_codebooks "
            f"from {', '.join(map(str, fitting))}"
        )
    return size


def pack_bits(bits: Tensor, num_codebooks: int = 1) -> Tensor:
    """Bool (B, C, *S) -> int64 (B, *S), or (B, Q, *S) for Q > 1; an index's first bit is its most significant."""
    grouped = rearrange(bits.long(), "b (q d) ... -> b q d ...", q=num_codebooks)
    indices: Tensor = (grouped << _places(grouped.shape[2], grouped)).sum(dim=2)
    return indices.squeeze(1) if num_codebooks == 1 else indices


def unpack_bits(indices: Tensor, num_bits: int, num_codebooks: int = 1) -> Tensor:
    """The inverse of ``pack_bits``: indices to bool (B, C, *S) with C = ``num_bits``."""
    if num_codebooks == 1:
        indices = indices.unsqueeze(1)  # (B, 1, *S)
    grouped = indices.long().unsqueeze(2)  # (B, Q, 1, *S)
    places = _places(num_bits // num_codebooks, grouped)
    return ((grouped >> places) & 1).bool().flatten(1, 2)


def signs(bits: Tensor, scale: float = 1.0) -> Tensor:
    """Bool -> float32 of the same shape, ``scale`` where true and ``-scale`` where false."""
    return torch.where(bits, scale, -scale)


def _places(size: int, grouped: Tensor) -> Tensor:
    """How far each of ``size`` bits is shifted, to be broadcast over axis 2 of (B, Q, D, *S)."""
    places = torch.arange(size - 1, -1, -1, device=grouped.device)
    return places.view(1, 1, -1, *(1,) * (grouped.ndim - 3))
