"""What the boxes of an MP4 or QuickTime file claim, read before any library believes them.

Libraries allocate by what tables claim: a header of some hundred bytes can ask for gigabytes, or say that the film
takes ten hours. Here a table's length is compared with the bytes that are there, and nothing is allocated.

Source: ISO/IEC 14496-12 (the ISO base media file format), 4.2 boxes, 8.2.2 mvhd, 8.3.2 tkhd, 8.4.2 mdhd, 8.4.3 hdlr,
8.5.2 stsd, 8.6.1.2 stts, 8.7.3 stsz, 8.8.8 trun.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_HEADER_BYTES = 64 * 2**20
MAX_SAMPLES = 2**22  # of a track; libraries keep some 30 bytes of each
INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
# (a, b) of a track's matrix -> quarter turns clockwise that show it upright.
TURNS = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}
ONE = 0x10000  # 1 in 16.16


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its four letters, and where its content lies."""

    kind: bytes
    start: int
    stop: int


@dataclass(slots=True)
class Track:
    """One track as its boxes describe it.

    Attributes:
        kind: ``vide``, ``soun``, ...
        size: (H, W) of its pictures as they are stored.
        samples: how many it claims, in its tables and in fragments.
        seconds: that it claims to take.
        turns: quarter turns clockwise that show it upright.
    """

    kind: bytes = b""
    size: tuple[int, int] = (0, 0)
    samples: int = 0
    seconds: float = 0.0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Claims:
    """What a whole file claims.

    Attributes:
        tracks: in order.
        seconds: the longest that anything claims to take.
    """

    tracks: tuple[Track, ...]
    seconds: float

    @property
    def video(self) -> Track | None:
        """The first track of pictures."""
        return next((track for track in self.tracks if track.kind == b"vide"), None)


def read_claims(file: BinaryIO, num_bytes: int) -> Claims:
    """Read the headers of a file of ``num_bytes``.

    Raises:
        ValueError: if a box reaches beyond the file, headers are missing, compressed, damaged or absurdly large.
    """
    tracks: list[Track] = []
    seconds = [0.0]
    fragments = 0
    found = False
    for box in _boxes(file, 0, num_bytes):
        if box.kind not in (b"moov", b"moof"):
            continue
        if box.stop - box.start > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {box.stop - box.start} bytes is absurd")
        found |= box.kind == b"moov"
        for inner in _inside(file, box):
            try:
                if inner.kind == b"trun":
                    fragments += _u32(file, inner, 4)
                else:
                    _note(file, inner, tracks, seconds)
            except struct.error:
                raise ValueError(f"the box {_name(inner.kind)} is too short") from None
    if not found:
        raise ValueError("the header (moov) is missing: the file is cut short")
    video = next((track for track in tracks if track.kind == b"vide"), None)
    if video is not None:
        video.samples += fragments
    if fragments > MAX_SAMPLES or any(
        track.samples > MAX_SAMPLES and track.kind != b"vide" for track in tracks
    ):
        raise ValueError(f"a track claims more than {MAX_SAMPLES} samples")
    return Claims(tuple(tracks), max([*seconds, *(track.seconds for track in tracks)]))


def _note(file: BinaryIO, box: Box, tracks: list[Track], seconds: list[float]) -> None:
    """Put down what one box says."""
    if box.kind == b"cmov":
        raise ValueError("its header is compressed, which is not read here")
    if box.kind == b"mvhd":
        seconds.append(_duration(file, box))
    elif box.kind == b"trak":
        tracks.append(Track())
    if not tracks:
        return
    track = tracks[-1]
    if box.kind == b"tkhd":
        at = 52 if _u32(file, box, 0) >> 24 else 40
        first, second = struct.unpack(">2i", _read(file, box, at, 8))
        track.turns = TURNS.get((round(first / ONE), round(second / ONE)), 0)
    elif box.kind == b"mdhd":
        track.seconds = max(track.seconds, _duration(file, box))
    elif box.kind == b"hdlr" and not track.kind:
        track.kind = _read(file, box, 8, 4)
    elif box.kind == b"stsd" and track.kind == b"vide" and _u32(file, box, 4):
        track.size = struct.unpack(">2H", _read(file, box, 40, 4))[::-1]
    elif box.kind in (b"stsz", b"stz2"):
        track.samples = max(track.samples, _u32(file, box, 8))
    elif box.kind == b"stts":
        count = min(_u32(file, box, 4), (box.stop - box.start - 8) // 8)
        numbers = struct.unpack(f">{2 * count}I", _read(file, box, 8, 8 * count))
        track.samples = max(track.samples, sum(numbers[::2]))


def _duration(file: BinaryIO, box: Box) -> float:
    """Seconds of an mvhd or mdhd; unknown ones, all bits set, count as none."""
    if _u32(file, box, 0) >> 24:
        scale, length = struct.unpack(">IQ", _read(file, box, 20, 12))
        unknown = length == 2**64 - 1
    else:
        scale, length = struct.unpack(">2I", _read(file, box, 12, 8))
        unknown = length == 2**32 - 1
    if not scale:
        raise ValueError(f"the box {_name(box.kind)} counts time in no unit")
    return 0.0 if unknown else length / scale


def _inside(file: BinaryIO, box: Box) -> Iterator[Box]:
    """All boxes below one, each before those inside it."""
    for inner in _boxes(file, box.start, box.stop):
        yield inner
        if inner.kind in INSIDE:
            yield from _inside(file, inner)


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    while stop - start >= 8:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            more = file.read(8)
            size, head = (int.from_bytes(more, "big") if len(more) == 8 else 0), 16
        elif size == 0:  # to the end
            size = stop - start
        if size < head:
            raise ValueError(f"the box {_name(kind)} at byte {start} is damaged")
        if start + size > stop:
            missing = start + size - stop
            raise ValueError(
                f"the box {_name(kind)} at byte {start} lacks {missing} bytes: the file is cut short"
            )
        yield Box(kind, start + head, start + size)
        start += size


def _read(file: BinaryIO, box: Box, offset: int, count: int) -> bytes:
    """Bytes of a box's content; struct.error where it has fewer."""
    if offset + count > box.stop - box.start:
        raise struct.error("too short")
    file.seek(box.start + offset)
    return file.read(count)


def _u32(file: BinaryIO, box: Box, offset: int) -> int:
    return int.from_bytes(_read(file, box, offset, 4), "big")


def _name(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))
