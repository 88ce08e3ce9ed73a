"""Pictures as bytes of an answer: PNG without loss, JPEG, WebP with or without loss, AVIF, npy, or the pixels alone."""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import wire
from service.errors import InvalidParameter

Pixels = NDArray[np.uint8]
Output = Literal["png", "jpeg", "webp", "avif", "npy", "raw"]
OUTPUTS: tuple[str, ...] = get_args(Output)
MEDIA_TYPES: dict[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
    "npy": wire.NPY_MEDIA_TYPE,
    "raw": wire.RAW_MEDIA_TYPE,
}
# Several pictures put together.
ZIP_MEDIA_TYPE = "application/zip"
# Formats that ``quality`` applies to, and what they get without it; WebP is lossless then.
QUALITIES: dict[str, int | None] = {"jpeg": 95, "webp": None, "avif": 80}
# The longest side that a format can hold, and of AVIF that decoders take.
MAX_SIDE: dict[str, int] = {"jpeg": 65_535, "webp": 16_383, "avif": 32_768}


def encode(pixels: Pixels, output: Output, *, quality: int | None = None) -> bytes:
    """uint8 (H, W, 3) or grey (H, W) as a file, at the fastest setting of each format.

    Args:
        pixels: the picture.
        output: the format; JPEG and AVIF without chroma subsampling.
        quality: 0 to 100, of the formats of ``QUALITIES``; None for their own. Says nothing to the others.

    Raises:
        InvalidParameter: the format cannot hold this size.
    """
    if output == "npy":
        return wire.write_npy(pixels)
    if output == "raw":
        return wire.write_raw(pixels, "uint8")
    check_output(output, (pixels.shape[0], pixels.shape[1]))
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    chosen = QUALITIES.get(output) if quality is None else quality
    if output == "png":
        image.save(out, "PNG", compress_level=1)  # level 6 costs five times as long for a few percent
    elif output == "jpeg":
        image.save(out, "JPEG", quality=max(1, chosen or 0), subsampling=0)
    elif output == "avif":
        image.save(out, "AVIF", quality=chosen, subsampling="4:4:4", speed=9, max_threads=1)
    elif chosen is None:
        image.save(out, "WEBP", lossless=True, quality=0, method=0)
    else:
        image.save(out, "WEBP", quality=chosen, method=2)
    return out.getvalue()


def check_output(output: str, size: tuple[int, int], quality: int | None = None) -> None:
    """InvalidParameter if the format cannot hold a picture of ``size`` (height, width), or has no ``quality``."""
    limit = MAX_SIDE.get(output)
    if limit is not None and max(size) > limit:
        raise InvalidParameter(
            f"{output} holds sides up to {limit} pixels, this picture is {size[0]},{size[1]}: ask for "
            "output=png",
            param="output",
        )
    if quality is not None and output not in QUALITIES:
        raise InvalidParameter(
            f"output={output} loses nothing and has no quality: leave it out, or ask for {', '.join(QUALITIES)}",
            param="quality",
        )
