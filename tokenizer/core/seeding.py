"""Randomness as a pure function of names: no draw depends on which process makes it, or on what ran before."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def key(*parts: int | str) -> int:
    """A 63-bit seed from a list of names, for example ``key(seed, "crop", epoch, index)``."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded with ``key(*parts)``."""
    return torch.Generator().manual_seed(key(*parts))


def normal(shape: Sequence[int], keys: Tensor, purpose: str) -> Tensor:
    """Standard normal noise (B, *shape) float32 on the CPU, row i drawn from (keys[i], purpose) alone.

    Args:
        shape: shape of one sample.
        keys: (B,) int64, one a sample.
        purpose: a name, so that two uses of one key stay independent.
    """
    return torch.stack([torch.randn(*shape, generator=generator(int(row), purpose)) for row in keys])


def uniform(keys: Tensor, purpose: str) -> Tensor:
    """Uniform draws in [0, 1), (B,) float32 on the CPU, entry i from (keys[i], purpose) alone."""
    return torch.stack([torch.rand((), generator=generator(int(row), purpose)) for row in keys])
