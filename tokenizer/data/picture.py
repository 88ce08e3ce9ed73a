"""One encoded picture, wherever its bytes lie, and how it is decoded safely."""

import io
import warnings
from typing import BinaryIO, Protocol

from PIL import Image, ImageOps, UnidentifiedImageError

from tokenizer.data.kind import PICTURES

SUFFIXES = PICTURES.suffixes
# Only these decoders ever run, whatever a file is called; the likely ones first.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 200_000_000


class Encoded(Protocol):
    """Bytes of a picture; its ``str()`` says where they lie, in full."""

    def read(self) -> bytes:
        """The encoded picture; OSError or ValueError if it cannot be had."""
        ...


class Picture(Encoded, Protocol):
    """An encoded picture or video of a source."""

    @property
    def name(self) -> str:
        """Its path from the folder that was opened; a shard counts as a folder."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes of the encoded picture."""
        ...

    @property
    def mtime_ns(self) -> int:
        """When its file was last changed."""
        ...

    def open(self) -> BinaryIO:
        """The encoded picture as a file of its own, for what need not read it whole; as ``read`` otherwise."""
        ...


def read_image(picture: Encoded) -> Image.Image:
    """Decode a picture: RGB, orientation applied, transparency on white.

    Raises:
        ValueError: saying where it lies, if it is no picture of ``FORMATS``, cut short, or larger than 200
            million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(picture.read()), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels are too many")
                image.load()
                return flatten(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:  # its own words name an object in memory: other words every time
        raise ValueError(
            f"{picture} cannot be read: cannot identify it as one of {', '.join(FORMATS)}"
        ) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ValueError(f"{picture} cannot be read: {error}") from error


def flatten(image: Image.Image) -> Image.Image:
    """RGB, with transparency laid on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")
