"""Every size that an AVIF file states, read without a decoder.

The container states one size and the AV1 stream inside another; the decoder allocates what the stream says. So both
are read here, and a file whose parts cannot all be checked is refused: tiles put together (``grid``), image
sequences, data outside the file.

Sources: ISO/IEC 14496-12 (boxes; 8.11 meta, iloc, iinf), ISO/IEC 23008-12 (ispe), AV1 Image File Format 1.1,
AV1 Bitstream and Decoding Process Specification 5.3 to 5.5 (OBU header, sequence header).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Box = tuple[bytes, int, int]  # kind, first byte of the content, end

STILL_BRAND = b"avif"
MAX_ITEMS = 256
MAX_EXTENTS = 1024
MAX_OBUS = 4096
# Derived pictures: their parts are put together on a canvas of yet another size.
DERIVED = {b"grid", b"iovl", b"sato"}
SEQUENCE_HEADER = 1


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes of an item: its place in the file."""

    start: int
    end: int


def is_avif(body: bytes) -> bool:
    """Whether the first box says that this is an AVIF still picture."""
    return body[4:12] == b"ftyp" + STILL_BRAND


def avif_sizes(body: bytes) -> list[tuple[int, int]]:
    """(width, height) of every picture in the file, as the container and as the streams state them.

    Raises:
        ValueError: saying what is damaged, or cannot be checked.
    """
    try:
        return _sizes(body)
    except IndexError:
        raise ValueError("a box is cut short") from None


def _sizes(body: bytes) -> list[tuple[int, int]]:
    meta = [(start, end) for kind, start, end in _boxes(body, 0, len(body)) if kind == b"meta"]
    if len(meta) != 1:
        raise ValueError("there must be one meta box")
    inside = list(_boxes(body, meta[0][0] + 4, meta[0][1]))
    places = {kind: (start, end) for kind, start, end in inside}
    if len(places) != len(inside) or not {b"iinf", b"iloc", b"iprp"} <= places.keys():
        raise ValueError("the meta box lacks items or says them twice")
    kinds = _item_kinds(body, *places[b"iinf"])
    if DERIVED & set(kinds.values()):
        raise ValueError("pictures put together from tiles are not taken")
    extents = _extents(body, places[b"iloc"], places.get(b"idat", (0, 0)))
    if sum(extent.end - extent.start for runs in extents.values() for extent in runs) > 2 * len(body):
        raise ValueError("items overlap")
    sizes = list(_stated(body, *places[b"iprp"]))
    streams = [item for item, kind in kinds.items() if kind == b"av01"]
    for item in streams:
        runs = extents.get(item, [])
        sizes += _stream_sizes(b"".join(body[run.start : run.end] for run in runs))
    if not sizes or not streams:
        raise ValueError("there is no picture in it")
    return sizes


def _boxes(body: bytes, start: int, end: int) -> Iterator[Box]:
    count = 0
    while start < end:
        size, head = _number(body, start, 4), 8
        if size == 1:
            size, head = _number(body, start + 8, 8), 16
        elif size == 0:
            size = end - start
        count += 1
        if size < head or start + size > end or count > MAX_EXTENTS:
            raise ValueError("a box ends beyond the file")
        yield body[start + 4 : start + 8], start + head, start + size
        start += size


def _item_kinds(body: bytes, start: int, end: int) -> dict[int, bytes]:
    wide = 2 if body[start] == 0 else 4
    kinds: dict[int, bytes] = {}
    for kind, inner, _ in _boxes(body, start + 4 + wide, end):
        version = body[inner]
        if kind != b"infe" or version not in (2, 3):
            raise ValueError("an item is described in a way that is not known")
        width = 2 if version == 2 else 4
        item = _number(body, inner + 4, width)
        if item in kinds or len(kinds) >= MAX_ITEMS:
            raise ValueError("there are too many items, or one twice")
        kinds[item] = body[inner + 6 + width : inner + 10 + width]
    return kinds


def _extents(body: bytes, iloc: tuple[int, int], idat: tuple[int, int]) -> dict[int, list[Extent]]:
    """Where the bytes of every item lie."""
    at, version = iloc[0], body[iloc[0]]
    if version > 2:
        raise ValueError("items are located in a way that is not known")
    offset_width, length_width = body[at + 4] >> 4, body[at + 4] & 15
    base_width, index_width = body[at + 5] >> 4, (body[at + 5] & 15) if version else 0
    id_width = 2 if version < 2 else 4
    count = _number(body, at + 6, id_width)
    at += 6 + id_width
    found: dict[int, list[Extent]] = {}
    total = 0
    for _ in range(count):
        item = _number(body, at, id_width)
        at += id_width
        method = (_number(body, at, 2) & 15) if version else 0
        at += (2 if version else 0) + 2  # construction method, data reference
        base = _number(body, at, base_width)
        at += base_width
        pieces = _number(body, at, 2)
        at += 2
        total += pieces
        if item in found or len(found) >= MAX_ITEMS or total > MAX_EXTENTS or method > 1:
            raise ValueError("items are too many, scattered or elsewhere")
        first, last = (0, len(body)) if method == 0 else idat
        runs = []
        for _ in range(pieces):
            begin = first + base + _number(body, at + index_width, offset_width)
            length = _number(body, at + index_width + offset_width, length_width)
            at += index_width + offset_width + length_width
            stop = begin + length if length else last
            if not first <= begin <= stop <= last:
                raise ValueError("an item lies beyond the file")
            runs.append(Extent(begin, stop))
        found[item] = runs
    if at > iloc[1]:
        raise ValueError("a box is cut short")
    return found


def _stated(body: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sizes that the container states (ispe)."""
    for kind, inner, stop in _boxes(body, start, end):
        if kind == b"ipco":
            for name, at, _ in _boxes(body, inner, stop):
                if name == b"ispe":
                    yield _number(body, at + 4, 4), _number(body, at + 8, 4)


def _stream_sizes(stream: bytes) -> list[tuple[int, int]]:
    """The sizes that an AV1 stream states, one a sequence header."""
    sizes, at = [], 0
    for _ in range(MAX_OBUS):
        if at >= len(stream):
            break
        head = stream[at]
        at += 2 if head & 4 else 1  # an extension byte follows
        length = len(stream) - at
        if head & 2:
            length, at = _leb128(stream, at)
        if at + length > len(stream):
            raise ValueError("the picture ends beyond the file")
        if head >> 3 & 15 == SEQUENCE_HEADER:
            sizes.append(_sequence_size(stream[at : at + length]))
        at += length
    if at < len(stream) or not sizes:
        raise ValueError("the picture has no header that could be read")
    return sizes


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = stream[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a length is too long")


def _sequence_size(payload: bytes) -> tuple[int, int]:
    """(width, height) that no frame of the sequence exceeds: sequence_header_obu of the AV1 specification, 5.5.1."""
    bits = _Bits(payload)
    bits.take(4)  # seq_profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing_info
        bits.take(64)
        if bits.take(1):
            bits.take_uvlc()
        if bits.take(1):  # decoder_model_info
            delay_bits = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)


class _Bits:
    """Bits of a header, most significant first."""

    def __init__(self, payload: bytes) -> None:
        self._value = int.from_bytes(payload[:256], "big")
        self._left = 8 * len(payload[:256])

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the picture's header is cut short")
        return self._value >> self._left & (1 << count) - 1

    def take_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


def _number(body: bytes, at: int, width: int) -> int:
    if at + width > len(body) or width not in (0, 2, 4, 8):
        raise ValueError("a box is cut short")
    return int.from_bytes(body[at : at + width], "big")
