"""Picture files -> pixels, with Pillow. Host work only: run it in a thread, never on the event loop.

An allow-list of formats; the size is known before a pixel is decoded; orientation is applied and all other
metadata dropped; transparency is laid over white. Arrays are uint8 (H, W, 3).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

from service.codecs.avif import avif_sizes, is_avif
from service.codecs.webp import webp_size
from service.errors import EmptyBody, NotAnImage, ServiceError, TooManyPixels, TruncatedImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from service.codecs.writing import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF")
ACCEPTED = "PNG, JPEG, WebP, AVIF (a still picture), BMP or GIF"
ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What the first bytes say: the format, and the size in pixels as the picture will be shown."""

    format: str
    size: tuple[int, int]


def inspect(body: bytes, max_pixels: int) -> PictureHeader:
    """Read the header only.

    Raises:
        EmptyBody, NotAnImage, TruncatedImage, TooManyPixels.
    """
    with _opened(body, max_pixels) as image:
        height, width = image.height, image.width
        if _orientation(image) >= 5:  # the picture lies on its side
            height, width = width, height
        return PictureHeader(str(image.format), (height, width))


def decode(body: bytes, max_pixels: int) -> Pixels:
    """The picture as uint8 (H, W, 3), turned as its EXIF orientation says; of an animation the first frame.

    Raises:
        EmptyBody, NotAnImage, TruncatedImage, TooManyPixels.
    """
    return _decoded(body, max_pixels, _rgb)


def decode_mask(body: bytes, max_pixels: int) -> Pixels:
    """A mask as uint8 (H, W), 255 where the picture is made anew and 0 where it is kept.

    Of a picture with transparency what is transparent is made anew, of any other what is white.

    Raises:
        EmptyBody, NotAnImage, TruncatedImage, TooManyPixels.
    """
    return _decoded(body, max_pixels, _anew)


def _decoded(body: bytes, max_pixels: int, convert: Callable[[Image.Image], Pixels]) -> Pixels:
    with _opened(body, max_pixels) as image:
        try:
            image.load()
            turn = TURNS.get(_orientation(image))
            pixels = convert(image)
        except (MemoryError, ServiceError):
            raise
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise _truncated(error) from None
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return np.ascontiguousarray(pixels)


def _opened(body: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Open without decoding; of WebP and AVIF every size is checked before, as they allocate by what they say."""
    if not body:
        raise EmptyBody(f"the body is empty: send the bytes of a {ACCEPTED} picture")
    kind = _sniff(body)
    if kind is None:
        raise NotAnImage(f"this is not a picture that is accepted here: send {ACCEPTED}")
    try:
        sizes = [webp_size(body)] if kind == "WEBP" else avif_sizes(body) if kind == "AVIF" else []
    except ValueError as error:
        raise _truncated(error) from None
    for width, height in sizes:
        _refuse_pixels(width, height, max_pixels)
    try:
        image = Image.open(io.BytesIO(body), formats=(kind,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(
            _too_many("this picture", max_pixels), details={"max_pixels": max_pixels}
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # as above: the first bytes were right, the rest is not
        raise _truncated(error) from None
    _refuse_pixels(image.width, image.height, max_pixels)
    return image


def _sniff(body: bytes) -> str | None:
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if is_avif(body):
        return "AVIF"
    return "BMP" if body.startswith(b"BM") else None


def _refuse_pixels(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise _truncated(ValueError("no pixels"))
    if width * height > max_pixels:
        raise TooManyPixels(
            _too_many(f"a picture of {width}x{height}", max_pixels), details={"max_pixels": max_pixels}
        )


def _too_many(what: str, max_pixels: int) -> str:
    return f"{what} has more than the {max_pixels} pixels that this server takes: send a smaller one"


def _truncated(error: Exception) -> TruncatedImage:
    reason = " ".join(str(error).split())[:120]
    return TruncatedImage(f"the picture is cut short or damaged ({reason}): send the whole file")


def _orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read. PNG keeps it after the pixels
    sometimes.
    """
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        return 1
    try:
        reader = Image.Exif()
        reader.load(exif)
        value = reader.get(ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> Pixels:
    """Any mode -> uint8 (H, W, 3); 16 bits are scaled, transparency is laid over white."""
    if image.mode.startswith("I"):  # 16-bit grey
        deep = np.asarray(image).astype(np.int64).clip(0, 65_535)
        grey = ((deep + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if _has_alpha(image):
        layered = image.convert("RGBA")
        paper = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, layered)
    pixels: NDArray[Any] = np.asarray(image.convert("RGB"))  # convert gives 8 bits a channel
    return pixels


def _anew(image: Image.Image) -> Pixels:
    """Any mode -> uint8 (H, W), how much of each pixel a mask gives free."""
    if _has_alpha(image):
        opaque: Pixels = np.asarray(image.convert("RGBA").getchannel("A"))
        return 255 - opaque
    return np.asarray(Image.fromarray(_rgb(image)).convert("L"))


def _has_alpha(image: Image.Image) -> bool:
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
