"""What the boxes claim is read without believing it; lies about sizes and counts are found by comparing."""

import io
import struct
from fractions import Fraction

import numpy as np
import pytest

from tokenizer.data.mp4_boxes import Claims, read_claims
from tokenizer.data.video_writer import to_mp4

FRAMES = np.zeros((7, 16, 24, 3), np.uint8)


def claims(data: bytes) -> Claims:
    return read_claims(io.BytesIO(data), len(data))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def header(*tracks: bytes, seconds: int = 2) -> bytes:
    return box(b"moov", box(b"mvhd", struct.pack(">5I", 0, 0, 0, 1, seconds)) + b"".join(tracks))


def track(kind: bytes = b"vide", *, samples: int = 5, seconds: int = 2, turned: bool = False) -> bytes:
    matrix = struct.pack(">2i", 0, 0x10000) if turned else struct.pack(">2i", 0x10000, 0)
    tables = box(b"stsz", struct.pack(">3I", 0, 100, samples))
    entry = bytes(24) + struct.pack(">2H", 24, 16) + bytes(50)
    tables = box(b"stsd", struct.pack(">2I", 0, 1) + box(b"avc1", entry)) + tables
    media = box(b"mdhd", struct.pack(">5I", 0, 0, 0, 1, seconds)) + box(b"hdlr", bytes(8) + kind + bytes(12))
    return box(
        b"trak", box(b"tkhd", bytes(40) + matrix) + box(b"mdia", media + box(b"minf", box(b"stbl", tables)))
    )


def test_a_real_file_claims_what_it_has() -> None:
    data = to_mp4(FRAMES, Fraction(7, 2))
    found = claims(data)
    assert found.seconds == pytest.approx(2.0)
    assert found.video is not None
    assert (found.video.size, found.video.samples, found.video.turns) == ((16, 24), 7, 0)


def test_the_first_track_of_pictures_counts() -> None:
    found = claims(box(b"ftyp", b"isom") + header(track(b"soun", samples=90), track(turned=True)))
    assert [one.kind for one in found.tracks] == [b"soun", b"vide"]
    assert found.video is not None
    assert (found.video.samples, found.video.size, found.video.turns) == (5, (16, 24), 1)
    assert claims(header(track(b"soun"))).video is None


def test_the_longest_claim_counts() -> None:
    assert claims(header(track(seconds=36_000))).seconds == 36_000
    assert claims(header(track(), seconds=36_000)).seconds == 36_000
    unknown = header(track(seconds=2**32 - 1))
    assert claims(unknown).seconds == 2


def test_fragments_add_up() -> None:
    run = box(b"trun", struct.pack(">2I", 0, 40))
    data = header(track(samples=0)) + 3 * box(b"moof", box(b"traf", run))
    video = claims(data).video
    assert video is not None
    assert video.samples == 120


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (to_mp4(FRAMES, 25)[:-1], "lacks 1 bytes: the file is cut short"),
        (to_mp4(FRAMES, 25)[:60], "'mdat' at byte .* lacks"),
        (box(b"ftyp", b"isom"), "moov.* is missing"),
        (header(box(b"cmov", b"")), "compressed"),
        (header() + box(b"moof", box(b"traf", box(b"trun", struct.pack(">2I", 0, 2**31)))), "more than"),
        (header(track(b"soun", samples=2**31)), "more than"),
        (box(b"moov", box(b"mvhd", bytes(4))), "'mvhd' is too short"),
        (box(b"moov", box(b"mvhd", bytes(20))), "counts time in no unit"),
        (struct.pack(">I4s", 4, b"moov"), "is damaged"),
    ],
)
def test_lies_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        claims(data)
