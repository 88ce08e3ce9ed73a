"""Picture files: what is taken, and what is refused before decoding."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import codecs
from service.errors import (
    EmptyBody,
    NotAnImage,
    ServiceError,
    TooManyPixels,
    TruncatedImage,
)
from tests.service.conftest import as_file, picture

LIMIT = 512 * 512


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims another size; every checksum is right."""
    body = bytearray(as_file(picture(4, 4)))
    body[16:24] = struct.pack(">II", width, height)
    body[29:33] = struct.pack(">I", zlib.crc32(body[12:29]))
    return bytes(body)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_lossless_formats_come_back_as_sent(kind: str) -> None:
    pixels = picture(30, 20)
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(codecs.decode(as_file(pixels, kind, **options), LIMIT), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF"])
def test_header_tells_the_size(kind: str) -> None:
    header = codecs.inspect(as_file(picture(30, 20), kind), LIMIT)
    assert (header.format, header.size) == (kind, (30, 20))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """The first pixel of an 8x16 picture with a white corner must land where EXIF says."""
    corner = np.zeros((8, 16, 3), np.uint8)
    corner[:4, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = saved(Image.fromarray(corner), kind, exif=exif, **({"quality": 100} if kind == "AVIF" else {}))
    turned = codecs.decode(body, LIMIT)
    shape = (16, 8) if orientation >= 5 else (8, 16)
    assert turned.shape == (*shape, 3)
    assert codecs.inspect(body, LIMIT).size == shape
    place = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert turned[place[orientation]].min() > 200
    assert turned.mean() < 100


def test_transparency_is_laid_over_white() -> None:
    layered = np.zeros((4, 4, 4), np.uint8)
    layered[..., 0], layered[..., 3] = 255, 128
    pixels = codecs.decode(saved(Image.fromarray(layered)), LIMIT)
    assert pixels[0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(picture(12, 10)).convert(mode)
    pixels = codecs.decode(saved(image), LIMIT)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_palette_transparency_is_laid_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    pixels = codecs.decode(saved(image, transparency=0), LIMIT)
    assert pixels.tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = np.array([[0, 257, 32_768, 65_535]], np.uint16)
    pixels = codecs.decode(saved(Image.fromarray(deep)), LIMIT)
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = codecs.decode(saved(image, "JPEG"), LIMIT)
    assert pixels[0, 0, 0] > 200
    assert pixels[0, 0, 1:].max() < 60


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    body = saved(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    pixels = codecs.decode(body, LIMIT)
    assert pixels.shape == (5, 6, 3)
    assert (pixels == [255, 0, 0]).all()


def test_nothing_is_not_a_picture() -> None:
    with pytest.raises(EmptyBody):
        codecs.inspect(b"", LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        bytes(100),
    ],
)
def test_other_files_are_refused(body: bytes) -> None:
    for read in (codecs.inspect, codecs.decode):
        with pytest.raises(NotAnImage, match="PNG"):
            read(body, LIMIT)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA"])
def test_formats_off_the_list_are_refused(kind: str) -> None:
    with pytest.raises(NotAnImage):
        codecs.inspect(as_file(picture(16, 16), kind), LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF"])
@pytest.mark.parametrize("part", [0.15, 0.5, 0.9])
def test_cut_pictures_are_refused(kind: str, part: float) -> None:
    body = as_file(picture(64, 64), kind)
    with pytest.raises(TruncatedImage, match="whole file"):
        codecs.decode(body[: int(len(body) * part)], LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        png_claiming(100_000, 100_000),
        png_claiming(2**31 - 1, 2**31 - 1),
        png_claiming(513, 512),
        as_file(np.zeros((600, 600, 3), np.uint8), "JPEG"),
        as_file(np.zeros((600, 600, 3), np.uint8), "WEBP"),
        as_file(np.zeros((600, 600, 3), np.uint8), "WEBP", lossless=True),
        as_file(np.zeros((600, 600, 3), np.uint8), "GIF"),
        as_file(np.zeros((600, 600, 3), np.uint8), "BMP"),
        as_file(np.zeros((600, 600, 3), np.uint8), "AVIF"),
    ],
)
def test_too_many_pixels_are_refused_before_decoding(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    for read in (codecs.inspect, codecs.decode):
        with pytest.raises(TooManyPixels, match=str(LIMIT)):
            read(body, LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF"])
def test_mutated_pictures_give_only_our_errors(kind: str) -> None:
    """Damaged files are refused with an error of ours, or decode to a picture of an allowed size."""
    body = as_file(picture(24, 32), kind)
    chance = random.Random(11)
    for _ in range(600):
        data = bytearray(body)
        for _ in range(chance.randint(1, 6)):
            at = min(int(chance.expovariate(1 / 40)), len(data) - 1)
            data[at if chance.random() < 0.7 else chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(1, len(data)) :]
        try:
            codecs.inspect(bytes(data), LIMIT)
            pixels = codecs.decode(bytes(data), LIMIT)
        except ServiceError as error:
            assert error.status < 500  # noqa: PT017  not every mutation is refused
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[0] * pixels.shape[1] <= LIMIT


def test_a_mask_is_what_is_transparent_or_else_white() -> None:
    alpha = np.full((6, 4), 255, np.uint8)
    alpha[1:3, 2:] = 0
    colours = np.full((6, 4, 3), 200, np.uint8)
    assert np.array_equal(codecs.decode_mask(as_file(np.dstack([colours, alpha])), 64), 255 - alpha)
    grey = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    for pixels in (grey, np.repeat(grey[:, :, None], 3, axis=2)):
        assert np.array_equal(codecs.decode_mask(as_file(pixels), 64), grey)
    with pytest.raises(TooManyPixels):
        codecs.decode_mask(as_file(grey), 23)
