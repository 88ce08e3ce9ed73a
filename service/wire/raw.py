"""Raw tensors: nothing but the elements, in C order and little-endian; shape and type are told beside the body."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import NotATensor, WrongDtype
from service.wire.dtypes import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

RAW_MEDIA_TYPE = "application/octet-stream"


def read_raw(
    body: bytes, shape: tuple[int, ...], dtype: str, allowed: Iterable[str] = LAYOUTS
) -> NDArray[Any]:  # as LAYOUTS says
    """A view of the body; a shape that lies is refused by arithmetic, nothing is allocated.

    Args:
        body: the elements.
        shape: outermost first.
        dtype: a name of ``allowed``.
        allowed: names of ``dtypes.LAYOUTS``.

    Raises:
        WrongDtype: another name.
        NotATensor: the body is longer or shorter than shape and type say.
    """
    if dtype not in allowed:
        raise WrongDtype(
            f"dtype {dtype[:32]!r} is not taken here: send one of {', '.join(allowed)}", param="dtype"
        )
    kind = np.dtype(LAYOUTS[dtype])
    needed = kind.itemsize * math.prod(shape)
    if len(body) != needed:
        raise NotATensor(
            f"shape {list(shape)} of {dtype} is {needed} bytes and the body has {len(body)}: send the tensor's "
            "bytes alone, in C order and little-endian",
            param="shape",
        )
    return np.frombuffer(body, kind, math.prod(shape)).reshape(shape)


def write_raw(array: NDArray[Any], dtype: str) -> bytes:  # as LAYOUTS says
    """The elements, in C order and little-endian."""
    return np.ascontiguousarray(array, LAYOUTS[dtype]).tobytes()
