"""Types of the elements of a tensor, with numpy alone: bfloat16, which numpy lacks, is held by its bits in uint16."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.integer[Any]]
Floating = Literal["float32", "float16", "bfloat16"]
# What a latent travels as; uint8 is quantised (quantised.py).
LatentDtype = Literal["float32", "float16", "bfloat16", "uint8"]
FLOATS: tuple[str, ...] = get_args(Floating)
# How elements lie in a file: little-endian, and for bfloat16 its bits.
LAYOUTS: dict[str, str] = {
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
}
INTEGERS: tuple[str, ...] = tuple(name for name in LAYOUTS if name not in FLOATS)
FLOAT16_MAX = 65_504.0


def to_float32(stored: NDArray[Any], dtype: str) -> Array:  # any layout of LAYOUTS
    """Stored elements -> float32: exact for every float type."""
    if dtype == "bfloat16":  # the upper half of a float32
        widened: Array = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return widened
    return stored.astype(np.float32, copy=False)


def from_float32(values: Array, dtype: Floating) -> NDArray[Any]:  # the layout of ``dtype``
    """float32 -> stored elements, rounded to the nearest, ties to even.

    float16 ends at 65504: values beyond it become that, with their sign.
    """
    values = np.ascontiguousarray(values, np.float32).reshape(values.shape)
    if dtype == "float16":
        return values.clip(-FLOAT16_MAX, FLOAT16_MAX).astype("<f2")
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        half, last = np.uint32(0x7FFF), (bits >> np.uint32(16)) & np.uint32(1)
        rounded = (bits + half + last) >> np.uint32(16)
        quiet = (bits >> np.uint32(16)) | np.uint32(0x40)  # rounding could turn a NaN into infinity
        return np.where(np.isnan(values), quiet, rounded).astype("<u2")
    return values.astype("<f4", copy=False)
