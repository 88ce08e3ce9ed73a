"""Pictures that come as numbers: uint8 (H, W, 3) or (N, H, W, 3), as npy or as the pixels alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service import wire
from service.errors import TooManyPixels, WrongDtype, WrongShape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.codecs.writing import Pixels


def read_pixels(body: bytes, headers: Mapping[str, str], max_pixels: int) -> Pixels | None:
    """uint8 (N, H, W, 3), a view of the body; None if it is a picture file.

    npy is told by its first bytes, raw pixels by the header ``x-tessera-shape``.

    Raises:
        NotATensor, WrongDtype, WrongShape, TooManyPixels.
    """
    told = headers.get("x-tessera-shape")
    if body.startswith(wire.NPY_MAGIC):
        pixels = wire.read_npy(body)
        if pixels.dtype != "uint8":
            raise WrongDtype(
                f"the npy array is {pixels.dtype.name}: send pixels as uint8, 0 to 255", param="file"
            )
    elif told is not None:
        dtype = headers.get("x-tessera-dtype", "uint8")
        pixels = wire.read_raw(body, wire.read_shape(told), dtype, ("uint8",))
    else:
        return None
    shape = pixels.shape if pixels.ndim == 4 else (1, *pixels.shape)
    if len(shape) != 4 or shape[3] != 3 or not all(shape):
        raise WrongShape(
            f"pixels of shape {list(pixels.shape)}: send (height, width, 3), or (pictures, height, width, 3)",
            param="shape",
        )
    if math.prod(shape[:3]) > max_pixels:
        raise TooManyPixels(
            f"{shape[0]} pictures of {shape[2]}x{shape[1]} have more than the {max_pixels} pixels that this server "
            "takes in one request: send fewer or smaller ones",
            details={"max_pixels": max_pixels},
        )
    return pixels.reshape(shape)
