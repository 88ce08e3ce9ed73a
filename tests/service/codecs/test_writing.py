"""Pictures of an answer: what each format keeps, what quality means, and what does not fit."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import codecs
from service.errors import InvalidParameter
from tests.service.conftest import as_file, picture

LIMIT = 512 * 512


@pytest.mark.parametrize("output", ["png", "webp", "npy", "raw"])
def test_lossless_outputs(output: Any) -> None:
    pixels = picture(30, 20)
    body = codecs.encode(pixels, output)
    if output == "npy":
        np.testing.assert_array_equal(np.load(io.BytesIO(body)), pixels)
    elif output == "raw":
        assert body == pixels.tobytes()
    else:
        np.testing.assert_array_equal(codecs.decode(body, LIMIT), pixels)


@pytest.mark.parametrize("output", ["jpeg", "avif"])
def test_lossy_outputs_are_close(output: Any) -> None:
    pixels = picture(64, 64)
    error = codecs.decode(codecs.encode(pixels, output), LIMIT).astype(int) - pixels
    assert np.abs(error).mean() < 4


def test_every_output_has_a_type_and_its_magic() -> None:
    pixels = picture(16, 24)
    magic = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF", "npy": b"\x93NUMPY"}
    for output in codecs.OUTPUTS:
        body = codecs.encode(pixels, output)  # type: ignore[arg-type]
        assert body.startswith(magic.get(output, b""))
        assert codecs.MEDIA_TYPES[output]
    assert codecs.encode(pixels, "avif")[4:12] == b"ftypavif"


def test_metadata_is_dropped() -> None:
    secret = "photographer's address"
    exif = Image.Exif()
    exif[0x010E] = secret
    body = as_file(picture(8, 8), "JPEG", exif=exif)
    assert secret.encode() in body
    pixels = codecs.decode(body, LIMIT)
    for output in codecs.OUTPUTS:
        assert secret.encode() not in codecs.encode(pixels, output)  # type: ignore[arg-type]


def test_sides_beyond_a_format_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="16383"):
        codecs.encode(np.zeros((1, 16_384, 3), np.uint8), "webp")
    with pytest.raises(InvalidParameter, match="png"):
        codecs.check_output("jpeg", (65_536, 1))
    codecs.check_output("png", (10**6, 1))


@pytest.mark.parametrize("output", ["png", "npy", "raw"])
def test_a_quality_of_lossless_formats_is_refused(output: str) -> None:
    codecs.check_output(output, (8, 8))
    with pytest.raises(InvalidParameter, match="jpeg, webp, avif"):
        codecs.check_output(output, (8, 8), 80)


def test_a_quality_makes_lossy_files_smaller() -> None:
    pixels = picture(64, 48)
    for output, kind in (("jpeg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF")):
        sizes = [len(codecs.encode(pixels, output, quality=quality)) for quality in (0, 50, 100)]
        assert sizes == sorted(sizes)
        assert sizes[0] < len(codecs.encode(pixels, output))
        with Image.open(io.BytesIO(codecs.encode(pixels, output, quality=50))) as image:
            assert (image.format, image.size) == (kind, (48, 64))
    assert codecs.encode(pixels, "png", quality=1) == codecs.encode(pixels, "png")
