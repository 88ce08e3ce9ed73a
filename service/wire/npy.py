"""npy files without objects; arrays are views of the body.

Source: NEP 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import ast
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import NotATensor, WrongDtype
from service.wire.dtypes import INTEGERS, LAYOUTS
from service.wire.sizes import is_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_NPY_HEADER_BYTES = 4096
NPY_MAGIC = b"\x93NUMPY"
NPY_MEDIA_TYPE = "application/x-npy"
SEND = "send the bytes that /v1/encode gave, unchanged"
READ = {LAYOUTS[name] for name in ("float32", "float16", *INTEGERS)}


def read_npy(body: bytes) -> NDArray[Any]:  # floats or integers
    """A float32, float16 or integer npy array, without objects.

    Raises:
        NotATensor: damaged, or longer or shorter than it says.
        WrongDtype: another type, or big-endian.
    """
    major = body[6] if len(body) > 6 else 0
    width = 2 if major == 1 else 4
    start = 8 + width
    if major not in (1, 2, 3) or len(body) < start:
        raise NotATensor(f"not a readable npy file: {SEND}")
    length = int.from_bytes(body[8:start], "little")
    if length > MAX_NPY_HEADER_BYTES or start + length > len(body):
        raise NotATensor(f"the npy header is {length} bytes long, more than there is or is sensible: {SEND}")
    try:
        header = ast.literal_eval(body[start : start + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        header = None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise NotATensor(f"the npy header cannot be read: {SEND}")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or descr not in READ:
        raise WrongDtype(
            f"the npy array is {str(descr)[:32]}: send a latent as little-endian float32 or float16 (<f4, <f2), "
            "indices as uint16 or uint32 (<u2, <u4), pixels as uint8 (|u1)",
            param="z",
        )
    kind = np.dtype(descr)
    if not isinstance(fortran, bool) or not isinstance(shape, tuple) or not is_shape(shape):
        raise NotATensor(f"the npy header cannot be read: {SEND}")
    if len(body) - start - length != kind.itemsize * math.prod(shape):
        raise NotATensor(f"shape {shape} does not match the bytes, the file may be cut short: {SEND}")
    flat = np.frombuffer(body, kind, math.prod(shape), start + length)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def write_npy(array: NDArray[Any]) -> bytes:  # float latents, indices, uint8 pixels
    """An npy file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()
