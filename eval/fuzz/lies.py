"""Files that lie: headers that promise sizes which are not there, and bombs that are small until they are opened.

Each takes a valid body and gives another one. Checksums are made right again, so that the lie reaches the code behind
them.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from PIL import Image

from eval.fuzz.corpus import CHANNELS, KINDS, SPEC_ID, Body, Kind, request, with_header

Lie = Callable[[Body, Random], Body]

SIDES = (0, 1, 2, 255, 4096, 16_383, 16_384, 30_000, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
SHAPES: tuple[Any, ...] = (  # what JSON and literals can hold
    [0], [1], [2**40], [2**63], [-1, 8], [1, CHANNELS, 2**20, 2**20], [1] * 40, [], [1.5], ["1"], None, {}, [[1]],
    [True, 8], [1, CHANNELS, 0, 0], [2**31, 2**31, 2**31],
)  # fmt: skip
DEPTH = 20_000


@cache
def bomb(megabytes: int) -> bytes:
    """A zlib stream of so many megabytes of zeros, a thousandth of that long."""
    packer = zlib.compressobj(9)
    piece = bytes(2**20)
    return b"".join([packer.compress(piece) for _ in range(megabytes)]) + packer.flush()


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_size(body: Body, random: Random) -> Body:
    """IHDR says another size."""
    data = body.data
    head = struct.pack(">II", random.choice(SIDES), random.choice(SIDES)) + data[24:29]
    return Body(data[:8] + chunk(b"IHDR", head) + data[33:])


def png_bomb(body: Body, random: Random) -> Body:
    """Pixels, text or a colour profile that unpack to far more than they should."""
    data, packed = body.data, bomb(random.choice((1, 16, 48)))
    extra = random.choice(
        (
            chunk(b"IDAT", packed),
            chunk(b"zTXt", b"Comment\0\0" + packed),
            chunk(b"iTXt", b"Comment\0\1\0\0\0" + packed),
            chunk(b"iCCP", b"profile\0\0" + packed),
            chunk(b"eXIf", b"MM\0*" + bytes(2**16)),
            b"".join(chunk(b"tEXt", b"k\0v") for _ in range(5000)),
        )
    )
    return Body(data[:33] + extra + data[33:])


def jpeg_size(body: Body, random: Random) -> Body:
    """The frame header says another size, or another number of components."""
    data = bytearray(body.data)
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if at >= 0:
            struct.pack_into(
                ">HH", data, at + 5, random.choice(SIDES) & 0xFFFF, random.choice(SIDES) & 0xFFFF
            )
            if random.random() < 0.3:
                data[at + 9 : at + 10] = bytes([random.randrange(256)])
    return Body(bytes(data))


def jpeg_scans(body: Body, random: Random) -> Body:
    """The same scan again and again, which a decoder may work through for ever."""
    at = body.data.rfind(b"\xff\xda")
    return Body(body.data[:at] + body.data[at:-2] * random.choice((2, 50, 500)) + b"\xff\xd9")


def webp_size(body: Body, random: Random) -> Body:
    """A canvas of another size before the picture, or other sizes in its own header."""
    data = body.data
    if random.random() < 0.5:
        sides = [min(random.choice(SIDES), 2**24 - 1).to_bytes(3, "little") for _ in range(2)]
        canvas = b"VP8X" + struct.pack("<I", 10) + bytes([random.randrange(64), 0, 0, 0]) + b"".join(sides)
        data = data[:12] + canvas + data[12:]
        return Body(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    changed = bytearray(data)
    struct.pack_into("<I", changed, random.choice((4, 16, 21, 26)), random.choice(SIDES))
    return Body(bytes(changed))


def avif_size(body: Body, random: Random) -> Body:
    """Boxes that state another size, or another length."""
    data = bytearray(body.data)
    name = random.choice((b"ispe", b"iloc", b"iinf", b"mdat", b"pitm", b"av1C", b"meta"))
    at = data.find(name)
    if at >= 4:
        offset = {b"ispe": random.choice((8, 12))}.get(name, random.choice((-4, 4, 8, 12)))
        struct.pack_into(">I", data, at + offset, random.choice(SIDES))
    return Body(bytes(data))


def gif_size(body: Body, random: Random) -> Body:
    """Another logical screen, or a frame outside of it."""
    data = bytearray(body.data)
    at = data.find(b",", 13) + 1
    place = 6 if random.random() < 0.5 or not 0 < at < len(data) - 8 else at + random.choice((0, 4))
    struct.pack_into("<HH", data, place, random.choice(SIDES) & 0xFFFF, random.choice(SIDES) & 0xFFFF)
    return Body(bytes(data))


def bmp_size(body: Body, random: Random) -> Body:
    """Other sides, depth, compression, palette or start of the pixels."""
    data = bytearray(body.data)
    at, form = random.choice(
        ((10, "<I"), (14, "<I"), (18, "<I"), (22, "<I"), (28, "<H"), (30, "<I"), (46, "<I"))
    )
    number = random.choice((*SIDES, 1, 2, 4, 8, 16, 24, 32))
    struct.pack_into(form, data, at, number & (0xFFFF if form == "<H" else 0xFFFFFFFF))
    return Body(bytes(data))


def tiny_giant(body: Body, random: Random) -> Body:
    """A real picture of one colour: a few kilobytes that are many megapixels."""
    side = random.choice((1025, 2048, 3000))
    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, random.choice(("PNG", "GIF")))
    return Body(out.getvalue())


def other_format(body: Body, random: Random) -> Body:
    """The first bytes of one format before the rest of another."""
    magic = random.choice(
        (
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"BM",
            b"RIFF\0\0\0\0WEBP",
            b"\x93NUMPY",
            b"II*\0",
            b"%!PS",
        )
    )
    return Body(magic + body.data[len(magic) :], body.headers)


def safetensors_header(body: Body, random: Random) -> Body:
    """A header that lies about types, shapes, places, or is none."""
    length = int.from_bytes(body.data[:8], "little")
    header, data = json.loads(body.data[8 : 8 + length]), body.data[8 + length :]
    name = next(key for key in header if key != "__metadata__")
    match random.randrange(8):
        case 0:
            header[name]["shape"] = random.choice(SHAPES)
        case 1:
            ends = (0, -1, 1, len(data), len(data) + 1, 2**40, 2**64, 1.5, None)
            header[name]["data_offsets"] = [random.choice(ends), random.choice(ends)]
        case 2:
            header[name]["dtype"] = random.choice(("F64", "I8", "BOOL", "F8_E4M3", "BF16", "U8", "", 7, None))
        case 3:
            header["__metadata__"] = random.choice(
                (
                    {"size": "9" * 30, "spec_id": SPEC_ID},
                    {"size": "0,0", "spec_id": SPEC_ID},
                    {"size": 7},
                    [],
                    "x",
                    None,
                )
            )
        case 4:
            header |= {f"t{index}": header[name] for index in range(random.choice((1, 50, 400)))}
        case 5:
            text = random.choice(
                (b"[" * DEPTH, b'{"a":' * DEPTH, b"{}", b"", b"null", b'{"z":{"dtype":"F32"}}', b"\xff" * 9)
            )
            return Body(struct.pack("<Q", len(text)) + text + data)
        case 6:
            return Body(
                struct.pack("<Q", random.choice((0, 1, 2**20, 2**40, 2**63, 2**64 - 1))) + body.data[8:]
            )
        case _:
            twice = (json.dumps(header)[:-1] + f', "{name}": ' + json.dumps(header[name]) + "}").encode()
            return Body(struct.pack("<Q", len(twice)) + twice + data)
    return Body(with_header(header, data))


def npy_header(body: Body, random: Random) -> Body:
    """A header that lies, or holds code."""
    start = 10 + int.from_bytes(body.data[8:10], "little")
    shape = random.choice((*SHAPES, (1, CHANNELS, 2**30, 2**30), (2**62,), (-4,)))
    shape = tuple(shape) if isinstance(shape, list) else shape
    descr = random.choice(("<f4", "<f4", "|O", "<f8", ">f4", "<U7", "<M8[s]", "V16", [("a", "<f4")], 7))
    text = random.choice(
        (
            str({"descr": descr, "fortran_order": random.choice((False, True, 1, None)), "shape": shape}),
            str({"descr": "<f4", "shape": shape}),
            "(" * 3000 + ")" * 3000,
            "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 3000 + ",)}",
            "__import__('os').abort()",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2**99,)}",
            "-" * 3000 + "1",
            "",
        )
    ).encode()
    length = random.choice((len(text), len(text), 0, 0xFFFF))
    return Body(body.data[:8] + struct.pack("<H", length) + text + body.data[start:], body.headers)


def told_otherwise(body: Body, random: Random) -> Body:
    """Headers beside the body that do not fit it."""
    texts = (
        "", "0", "-1", "1,2", "9" * 20, ",".join("1" * 40), "4294967296,4294967296", "1,8,1048576,1048576",
        "1.5,2", "٣,٤", "nan", "float64", "float32", "bfloat16", "uint8", "object", "x" * 5000, "1e400",
        ",".join(["0.5"] * 300), SPEC_ID,
    )  # fmt: skip
    names = ("size", "spec", "shape", "dtype", "scale", "offset")
    headers = dict(body.headers)
    for name in random.sample(names, random.choice((1, 1, 2, 3))):
        headers[f"x-tessera-{name}"] = random.choice(texts)
    if headers and random.random() < 0.2:
        headers.pop(random.choice(sorted(headers)))
    return Body(body.data, headers)


def json_values(body: Body, random: Random) -> Body:
    """Values of the wrong kind, out of range, or nested without end."""
    values: tuple[object, ...] = (
        -1, 0, 2**63, 2**70, 1e308, -0.0, 1.5, True, None, "", "x" * 20_000, "\ud800", "\0", [], {}, [1] * 5000, [[1]],
        "../../etc/passwd", float("nan"), float("inf"),
    )  # fmt: skip
    wish = request(random)
    names = [
        *wish,
        "model",
        "prompt",
        "init",
        "mask",
        "strength",
        "stream",
        "quality",
        "priority",
        "__class__",
    ]
    for name in random.sample(names, random.choice((1, 2, 4))):
        wish[name] = random.choice(values)
    text = random.choice(
        (
            json.dumps(wish).encode(),
            json.dumps(wish).encode(),
            b'{"label":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
            b'{"label":' * 5000,
            b'{"label":0,"label":1,"seed":' + b"9" * 5000 + b"}",
            b"\xef\xbb\xbf" + json.dumps(wish).encode(),
            json.dumps(wish).encode("utf-16"),
            json.dumps([wish] * 10).encode(),
        )
    )
    return Body(text, body.headers)


def form_parts(body: Body, random: Random) -> Body:
    """Too many parts, endless header lines, boundaries that are others or none."""
    boundary = random.choice(
        ("", "x", "fuzz-boundary-", "-" * 200, '"', "\u00e9", "fuzz-boundary-7; charset=x", "a b")
    )
    head = 'Content-Disposition: form-data; name="file"'
    line = random.choice(
        (head, head * 500, head + "; name=" * 300, "X: " + "y" * 30_000, "no colon", "", "A:b\r\n" * 2000)
    )
    made = "".join(
        f"--{boundary}\r\n{line}\r\n\r\n{index}\r\n" for index in range(random.choice((1, 17, 300)))
    )
    data = random.choice((body.data, (made + f"--{boundary}--\r\n").encode("utf-8"), made.encode("utf-8")))
    kind = random.choice(("multipart/form-data", "multipart/mixed", "multipart/form-data;;;", "multipart/"))
    return Body(data, {"content-type": f"{kind}; boundary={boundary}"})


OF_PICTURES: tuple[Lie, ...] = (tiny_giant, other_format)


def mp4_number(body: Body, random: Random) -> Body:
    """A number of a header: a duration, a count, a size, an offset."""
    data = bytearray(body.data)
    names = (b"mvhd", b"tkhd", b"mdhd", b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"avcC", b"elst")
    name = random.choice([one for one in names if one in data])
    at = data.index(name) + 4 + 4 * random.randrange(8)
    data[at : at + 4] = struct.pack(">I", random.choice(SIDES))
    return Body(bytes(data), body.headers)


def mp4_box(body: Body, random: Random) -> Body:
    """A box is of another length, or of another kind."""
    data = bytearray(body.data)
    names = (b"ftyp", b"mdat", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"hdlr")
    at = data.index(random.choice([one for one in names if one in data]))
    if random.random() < 0.6:
        data[at - 4 : at] = struct.pack(">I", random.choice((0, 1, 7, 8, 9, 2**16, 2**31, 2**32 - 1)))
    else:
        data[at : at + 4] = random.choice((b"moof", b"trun", b"cmov", b"free", b"uuid", b"moov", b"soun"))
    return Body(bytes(data), body.headers)


LIES: dict[Kind, tuple[Lie, ...]] = {
    "png": (png_size, png_bomb, *OF_PICTURES),
    "jpeg": (jpeg_size, jpeg_scans, *OF_PICTURES),
    "webp": (webp_size, *OF_PICTURES),
    "avif": (avif_size, *OF_PICTURES),
    "gif": (gif_size, *OF_PICTURES),
    "bmp": (bmp_size, *OF_PICTURES),
    "safetensors": (safetensors_header, safetensors_header, other_format),
    "npy": (npy_header, npy_header, told_otherwise, other_format),
    "raw": (told_otherwise,),
    "pixels": (told_otherwise, other_format),
    "json": (json_values,),
    "form": (form_parts,),
    "mp4": (mp4_number, mp4_number, mp4_box),
}
assert set(LIES) == set(KINDS)
