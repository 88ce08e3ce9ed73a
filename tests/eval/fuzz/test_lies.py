"""Lies: deterministic, reach the code behind checksums, and are refused by what reads them."""

import io
import zlib
from random import Random

import pytest
from PIL import Image

from eval.fuzz.corpus import KINDS, MAKERS, Kind
from eval.fuzz.lies import LIES, bomb, png_size, tiny_giant
from eval.fuzz.targets import read

PAIRS = [(kind, lie.__name__) for kind in KINDS for lie in dict.fromkeys(LIES[kind])]


@pytest.mark.parametrize(("kind", "name"), PAIRS, ids=lambda value: str(value))
def test_it_is_a_pure_function_and_is_read_or_refused(kind: Kind, name: str) -> None:
    lie = next(lie for lie in LIES[kind] if lie.__name__ == name)
    outcomes = set()
    for seed in range(12):
        body = MAKERS[kind](Random(seed))
        told = lie(body, Random(seed))
        assert told == lie(body, Random(seed))
        outcomes.add(read(kind, told))
    assert outcomes - {"ok"}


def test_a_png_that_lies_about_its_size_has_the_right_checksum() -> None:
    body = png_size(MAKERS["png"](Random(0)), Random(1))
    length = int.from_bytes(body.data[8:12], "big")
    found = zlib.crc32(body.data[12 : 16 + length]).to_bytes(4, "big")
    assert found == body.data[16 + length : 20 + length]


def test_a_bomb_is_a_thousandth_of_what_it_holds() -> None:
    assert len(bomb(4)) < 4 * 2**20 / 900
    assert zlib.decompress(bomb(4)) == bytes(4 * 2**20)


def test_a_tiny_giant_is_real_and_refused() -> None:
    body = tiny_giant(MAKERS["png"](Random(0)), Random(0))
    with Image.open(io.BytesIO(body.data)) as image:
        assert image.width * image.height > 1_000_000
    assert len(body.data) < 64_000
    assert read("png", body) == "too_many_pixels"
