"""The sizes that AVIF files state, in the container and in the stream; lies and tricks are refused unopened."""

import io
import random
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from service import codecs
from service.codecs.avif import avif_sizes, is_avif
from service.errors import NotAnImage, TooManyPixels, TruncatedImage
from tests.service.conftest import as_file, picture

LIMIT = 512 * 512


def avif(width: int, height: int, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, "AVIF", speed=9)
    return out.getvalue()


def edited(body: bytes, *edits: tuple[bytes, int, bytes]) -> bytes:
    """Bytes at a distance from the first place where a mark stands are replaced."""
    data = bytearray(body)
    for mark, distance, new in edits:
        at = data.index(mark) + distance
        data[at : at + len(new)] = new
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (300, 200), (513, 511)])
def test_container_and_streams_agree(mode: str, size: tuple[int, int]) -> None:
    body = avif(*size, mode)
    assert is_avif(body)
    sizes = avif_sizes(body)
    assert set(sizes) == {size}
    assert len(sizes) == (3 if mode == "RGBA" else 2)  # the stream of the alpha plane too


def test_a_container_that_lies_about_the_stream_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """64x64 outside and 4096x4096 inside: Pillow opens it gladly, and the decoder allocates what the stream says."""
    body = edited(avif(4096, 4096), (b"ispe", 8, struct.pack(">II", 64, 64)))
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (64, 64)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow was asked"))
    with pytest.raises(TooManyPixels, match="4096x4096"):
        codecs.inspect(body, LIMIT)


def test_a_container_that_lies_the_other_way_is_refused() -> None:
    body = edited(avif(64, 64), (b"ispe", 8, struct.pack(">II", 2**31 - 1, 2**31 - 1)))
    with pytest.raises(TooManyPixels):
        codecs.inspect(body, LIMIT)


def test_alpha_planes_are_checked_too() -> None:
    """The colour picture is honest; the second item, its alpha plane, is made to point at another file's stream."""
    small, large = avif(16, 16, "RGBA"), avif(600, 600, "L")
    stream = large[large.index(b"mdat") + 4 :]
    data = small.index(b"mdat")
    body = edited(
        small + stream,
        (b"iloc", 32, struct.pack(">II", len(small), len(stream))),
        (b"mdat", -4, struct.pack(">I", len(small) + len(stream) - data + 4)),
    )
    assert avif_sizes(body) == [(16, 16), (16, 16), (600, 600)]
    with pytest.raises(TooManyPixels, match="600x600"):
        codecs.inspect(body, LIMIT)


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "no meta": lambda body: edited(body, (b"meta", 0, b"atem")),
    "no places": lambda body: edited(body, (b"iloc", 0, b"coli")),
    "no picture": lambda body: edited(body, (b"av01", 0, b"mime")),
    "tiles": lambda body: edited(body, (b"av01", 0, b"grid")),
    "places of another version": lambda body: edited(body, (b"iloc", 4, b"\x07")),
    "a box beyond the file": lambda body: edited(body, (b"meta", -4, b"\x7f\xff\xff\xff")),
    "a box of no length": lambda body: edited(body, (b"iprp", -4, b"\0\0\0\x03")),
    "many extents": lambda body: edited(body, (b"iloc", 16, b"\xff\xff")),
    "cut": lambda body: body[:-1],
    "a header alone": lambda body: body[:32],
}


@pytest.mark.parametrize("name", EDITS)
def test_what_cannot_be_checked_is_refused(name: str) -> None:
    body = EDITS[name](avif(64, 48))
    with pytest.raises(ValueError, match=r"."):
        avif_sizes(body)
    with pytest.raises(TruncatedImage):
        codecs.inspect(body, LIMIT)


def test_sequences_are_not_taken() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(NotAnImage, match="still picture"):
        codecs.inspect(out.getvalue(), LIMIT)


def test_damaged_files_are_values_or_refused() -> None:
    """Whatever happens to the bytes: a list of sizes, or ValueError, soon."""
    body = as_file(picture(48, 32), "AVIF")
    chance = random.Random(3)
    refused = 0
    for _ in range(5000):
        data = bytearray(body)
        for _ in range(chance.randint(1, 6)):
            data[min(int(chance.expovariate(1 / 150)), len(data) - 1)] = chance.randrange(256)
        try:
            assert avif_sizes(bytes(data))
        except ValueError:
            refused += 1
    assert 500 < refused < 5000
