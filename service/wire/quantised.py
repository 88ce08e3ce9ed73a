"""Latents in 8 bits a value: one scale and one offset for every sample and channel.

    code  = round((z - offset) / scale)      round to nearest, ties to even; 0 where scale is 0
    z'    = offset + scale * code            code 0 .. 255

with offset the smallest value of the channel and scale = (largest - smallest) / 255, both float32; the
arithmetic is float64, rounded once to float32. So |z' - z| <= scale / 2 + 2^-22 max |z|, half a step and what
float32 cannot hold; a channel of one value comes back exactly.

Letters: B batch, C latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.wire.dtypes import Array

LEVELS = 255


@dataclass(frozen=True, slots=True)
class Quantised:
    """Codes uint8 (B, C, ...), scale and offset float32 (B, C)."""

    codes: NDArray[np.uint8]
    scale: Array
    offset: Array


def quantise(z: Array) -> Quantised:
    """Finite float32 (B, C, ...) -> codes that span each channel of each sample exactly."""
    rows = z.reshape(*z.shape[:2], -1).astype(np.float64)
    low, high = rows.min(axis=2), rows.max(axis=2)
    scale = ((high - low) / LEVELS).astype(np.float32)
    step = scale.astype(np.float64)[..., None]
    steps = np.divide(rows - low[..., None], step, out=np.zeros_like(rows), where=step > 0)
    codes = np.rint(steps).clip(0, LEVELS).astype(np.uint8)
    return Quantised(codes.reshape(z.shape), scale, low.astype(np.float32))


def dequantise(codes: NDArray[np.uint8], scale: Array, offset: Array) -> Array:
    """Codes (B, C, ...) -> float32; ``scale`` and ``offset`` are (B, C), (1, C) or (1, 1)."""
    step, start = (
        values.astype(np.float64).reshape(*values.shape, *(1,) * (codes.ndim - 2))
        for values in (scale, offset)
    )
    values: Array = (start + step * codes).astype(np.float32)
    return values
