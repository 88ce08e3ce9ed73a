"""Valid files of every format that the service reads, small, made here; each a pure function of its generator."""

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tokenizer.data.video_writer import to_mp4

Kind = Literal[
    "png", "jpeg", "webp", "avif", "gif", "bmp", "safetensors", "npy", "raw", "pixels", "json", "form", "mp4"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
PICTURES: tuple[Kind, ...] = ("png", "jpeg", "webp", "avif", "gif", "bmp")

# The latent space that targets.py reads with: f4c8 and, for indices, 3 ** 8 codes.
CHANNELS, FACTOR, CODES = 8, 4, 3**8
SPEC_ID = "0123456789abcdef"
BOUNDARY = "fuzz-boundary-7"


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes, and the headers that say what they are."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)


def pixels(random: Random) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), 1 to 48 pixels a side."""
    height, width = random.randint(1, 48), random.randint(1, 48)
    noise = np.random.default_rng(random.getrandbits(32))
    return noise.integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(kind: Kind, random: Random) -> Body:
    """A picture file in one of the format's ways."""
    image = Image.fromarray(pixels(random))
    modes = {"png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "jpeg": ("RGB", "L", "CMYK")}
    modes |= {"webp": ("RGB", "RGBA"), "avif": ("RGB", "RGBA"), "gif": ("P", "L"), "bmp": ("RGB", "L", "P")}
    mode = random.choice(modes[kind])
    image = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else image
    )
    image = image if mode == "I;16" else image.convert(mode)
    options: dict[str, Any] = {}  # Pillow's, by format
    if kind in ("webp", "avif"):
        options = {"quality": random.choice((10, 60, 95))} | (
            {"speed": 10} if kind == "avif" else {"method": 0}
        )
        options |= {"lossless": random.random() < 0.5} if kind == "webp" else {}
    if kind == "jpeg":
        options = {"quality": random.choice((5, 75, 98)), "progressive": random.random() < 0.5}
    if kind in ("webp", "gif") and random.random() < 0.4:
        options |= {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    if kind in ("jpeg", "png", "webp") and random.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = random.randint(1, 8)
        options["exif"] = exif
    out = io.BytesIO()
    image.save(out, kind.upper(), **options)
    return Body(out.getvalue())


def video(random: Random) -> Body:
    """An MP4 of a few frames, 16 to 48 pixels a side."""
    height, width = random.randint(16, 48), random.randint(16, 48)
    noise = np.random.default_rng(random.getrandbits(32))
    frames = noise.integers(0, 256, (random.randint(1, 4), height, width, 3), dtype=np.uint8)
    return Body(to_mp4(frames, random.choice((1, 25, 60)), crf=random.choice((18, 45))))


def latent(random: Random) -> tuple[NDArray[Any], str, dict[str, str]]:
    """(array, what it is called in safetensors, what is told beside it) of a latent or of indices."""
    height, width = random.randint(1, 48), random.randint(1, 48)
    rows, columns = -(-height // FACTOR), -(-width // FACTOR)
    batch = random.choice((1, 1, 2, 4))
    noise = np.random.default_rng(random.getrandbits(32))
    told = {"size": f"{height},{width}", "spec_id": SPEC_ID}
    if random.random() < 0.3:
        kind = random.choice(("<u2", "<u4", "<i4", "<i8"))
        return noise.integers(0, CODES, (batch, rows, columns)).astype(kind), "indices", told
    values = noise.standard_normal((batch, CHANNELS, rows, columns))
    return values.astype(random.choice(("<f4", "<f4", "<f2"))), "z", told


def safetensors(random: Random) -> Body:
    """A safetensors file."""
    array, name, told = latent(random)
    codes = {"<f4": "F32", "<f2": "F16", "<u2": "U16", "<u4": "U32", "<i4": "I32", "<i8": "I64"}
    entry = {
        "dtype": codes[array.dtype.str],
        "shape": list(array.shape),
        "data_offsets": [0, array.nbytes],
    }
    return Body(with_header({"__metadata__": told, name: entry}, array.tobytes()))


def with_header(header: dict[str, Any], data: bytes) -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def npy(random: Random) -> Body:
    """An npy file, with size and latent space in headers."""
    array, _, told = latent(random)
    out = io.BytesIO()
    ordered = np.asfortranarray(array) if random.random() < 0.2 else array
    np.save(out, ordered, allow_pickle=False)
    return Body(out.getvalue(), beside(told))


def raw(random: Random) -> Body:
    """The elements alone, with shape and type in headers."""
    array, _, told = latent(random)
    headers = beside(told) | {
        "x-tessera-shape": ",".join(str(side) for side in array.shape),
        "x-tessera-dtype": array.dtype.name,
    }
    return Body(array.tobytes(), headers)


def raw_pixels(random: Random) -> Body:
    """Pixels alone, or as npy."""
    array = np.stack([pixels(random)] * random.choice((1, 2)))
    if random.random() < 0.5:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        return Body(out.getvalue())
    shape = array.shape[1:] if len(array) == 1 else array.shape
    return Body(array.tobytes(), {"x-tessera-shape": ",".join(str(side) for side in shape)})


def beside(told: dict[str, str]) -> dict[str, str]:
    """Metadata as the headers of npy and raw bodies."""
    return {"x-tessera-size": told["size"], "x-tessera-spec": told["spec_id"]}


def request(random: Random) -> dict[str, Any]:
    """The JSON of a generate request."""
    wish: dict[str, Any] = {"label": random.choice((0, 1, "star"))}
    further = {
        "num_images": random.randint(1, 2),
        "num_steps": random.randint(1, 3),
        "guidance": random.choice((1.0, 2.5)),
        "seed": random.getrandbits(30),
        "size": [32, 32],
        "output": random.choice(("png", "jpeg", "webp", "npy", "latent")),
    }
    return wish | {name: further[name] for name in further if random.random() < 0.4}


def text(random: Random) -> Body:
    """The same as bytes."""
    return Body(json.dumps(request(random)).encode(), {"content-type": "application/json"})


def form(random: Random) -> Body:
    """A multipart form with the field ``file``, perhaps among others."""
    name = random.choice(("file", "file", "file", "picture"))
    parts = [(name, picture(random.choice(("png", "jpeg", "gif")), random).data)]
    parts += [(f"other{index}", b"text") for index in range(random.choice((0, 0, 1, 3)))]
    random.shuffle(parts)
    lines = []
    for part, content in parts:
        lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="a.png"\r\n')
        lines.append("Content-Type: application/octet-stream\r\n\r\n")
        lines.append(content.decode("latin-1") + "\r\n")
    data = ("".join(lines) + f"--{BOUNDARY}--\r\n").encode("latin-1")
    return Body(data, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})


MAKERS: dict[Kind, Callable[[Random], Body]] = {
    **{kind: partial(picture, kind) for kind in PICTURES},
    "safetensors": safetensors,
    "npy": npy,
    "raw": raw,
    "pixels": raw_pixels,
    "json": text,
    "form": form,
    "mp4": video,
}
