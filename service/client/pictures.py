"""Pictures on their way out: a path, the bytes of a file, a PIL image or an array -> what is sent."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from typing import TypeAlias

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"
# Modes that PNG holds without loss; any other becomes RGB.
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def picture_bytes(picture: Picture) -> bytes:
    """What is sent: files and bytes as they are, PIL images as PNG, arrays of colours as npy; all without loss.

    Args:
        picture: a path; the bytes of a file; a PIL image; uint8 (H, W) or (H, W, 3); or several of one size in one
            array (N, H, W, 3).

    Raises:
        ValueError: an array of another type or shape.
        OSError: the file cannot be read.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    if isinstance(picture, Image.Image):
        upright = ImageOps.exif_transpose(picture)
        return _png(upright if upright.mode in PNG_MODES else upright.convert("RGB"))
    coloured = picture.ndim in (3, 4) and picture.shape[-1] == 3
    if picture.dtype != np.uint8 or not (coloured or picture.ndim == 2) or 0 in picture.shape:
        raise ValueError(
            f"an array of {picture.dtype} {picture.shape} is no picture: give uint8 (H, W), (H, W, 3) or (N, H, W, 3)"
        )
    return npy_bytes(picture) if coloured else _png(Image.fromarray(np.ascontiguousarray(picture)))


def npy_bytes(array: NDArray[np.uint8]) -> bytes:
    """An npy file."""
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)  # level 6 costs five times as long for a few percent
    return out.getvalue()
