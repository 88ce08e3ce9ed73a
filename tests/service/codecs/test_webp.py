"""The size of WebP, before Pillow allocates its canvas."""

import io

import numpy as np
import pytest
from PIL import Image

from service import codecs
from service.codecs.webp import webp_size
from service.errors import TooManyPixels, TruncatedImage
from tests.service.conftest import as_file, picture

LIMIT = 512 * 512


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_every_kind_tells_its_size(options: dict[str, object]) -> None:
    assert webp_size(as_file(picture(30, 20), "WEBP", **options)) == (20, 30)


@pytest.mark.parametrize("length", [12, 16, 20, 24])
def test_cut_headers_are_no_size(length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        webp_size(as_file(picture(30, 20), "WEBP")[:length])


def test_webp_canvas_is_refused_before_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = as_file(np.zeros((16, 16, 4), np.uint8), "WEBP")
    extended = bytearray(extended_file())
    assert extended[12:16] == b"VP8X"
    extended[24:30] = (16_382).to_bytes(3, "little") * 2
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow was asked"))
    with pytest.raises(TooManyPixels, match="16383x16383"):
        codecs.inspect(bytes(extended), LIMIT)
    with pytest.raises(TruncatedImage):
        codecs.inspect(frame[:20], LIMIT)


def extended_file() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (16, 16)).save(out, "WEBP", exif=b"Exif\0\0")
    return out.getvalue()
