"""Between the float pixels of tokenizers and the uint8 pictures that metrics compare."""

import torch
from torch import Tensor

from tokenizer.data import transforms


def to_uint8(x: Tensor) -> Tensor:
    """x (B, 3, H, W), about [-1, 1] -> uint8: clamped, then rounded to the nearest grey level.

    Truncating instead would shift a quarter of the grey levels down by one even for a perfect identity.

    Raises:
        ValueError: if x holds NaN or infinity, which no picture can show.
    """
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the pictures hold NaN or infinity: the model is broken, or too large for its dtype")
    return transforms.to_uint8(x)


def from_uint8(pictures: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 in [-1, 1]; ``to_uint8`` undoes it exactly."""
    return pictures.float() / 127.5 - 1.0
