"""safetensors files, read and written without torch; arrays are views of the body.

Source: the format description in huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import NotATensor, WrongDtype
from service.wire.dtypes import FLOATS, INTEGERS, LAYOUTS
from service.wire.quantised import quantise
from service.wire.sizes import is_shape
from service.wire.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAX_HEADER_BYTES = 64 * 1024
SAFETENSORS_MEDIA_TYPE = "application/vnd.safetensors"
SEND = "send the bytes that /v1/encode gave, unchanged"
# Their names of our types.
NAMES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
CODES = {name: code for code, name in NAMES.items()}
# The tensor that holds codes of a discrete tokenizer.
INDICES = "indices"
# Beside a quantised tensor ``z`` stand ``z.scale`` and ``z.offset``.
SCALE, OFFSET = ".scale", ".offset"


def read_stored(body: bytes) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; scale and offset join the tensor that they belong to.

    Raises:
        NotATensor: the header lies, does not cover the bytes exactly, or is not a header.
        WrongDtype: a tensor is of another type than float32, float16, bfloat16 or quantised uint8, or ``indices``
            are no integers.
    """
    header, start = _header(body)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotATensor(f"the safetensors metadata must be text by name: {SEND}")
    if not header:
        raise NotATensor(f"the safetensors file holds no tensor: {SEND}")
    found: dict[str, Stored] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        code, shape, begin, stop = _entry(name, entry)
        dtype = _dtype(name, code)
        kind = np.dtype(LAYOUTS[dtype])
        if begin != end or stop - begin != kind.itemsize * math.prod(shape) or stop > len(body) - start:
            raise NotATensor(
                f"tensor {name[:64]!r} of shape {shape} does not match its bytes, the file may be cut short: "
                f"{SEND}"
            )
        array = np.frombuffer(body, kind, math.prod(shape), start + begin).reshape(shape)
        found[name] = Stored(array, dtype)
        end = stop
    if end != len(body) - start:
        raise NotATensor(f"{len(body) - start - end} bytes belong to no tensor: {SEND}")
    return _joined(found), metadata


def read_safetensors(body: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:  # float32 and integers
    """The tensors as numbers and the metadata: float32 whatever they travelled as, ``indices`` as they are.

    Raises:
        NotATensor, WrongDtype, WrongShape.
    """
    stored, metadata = read_stored(body)
    return {
        name: tensor.numbers() if tensor.is_latent else tensor.array for name, tensor in stored.items()
    }, metadata


def write_safetensors(
    parts: Mapping[str, NDArray[Any]],  # float32 latents, or integers
    metadata: Mapping[str, str],
    dtype: str | None = None,
) -> bytes:
    """A safetensors file.

    Args:
        parts: by name.
        metadata: text by name.
        dtype: what the arrays hold: bfloat16 for its bits, uint8 to quantise float32; None for what numpy says.
    """
    stored: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, array in parts.items():
        if dtype == "uint8":
            quantised = quantise(array)
            stored[name] = ("uint8", quantised.codes)
            stored[name + SCALE] = ("float32", quantised.scale)
            stored[name + OFFSET] = ("float32", quantised.offset)
        else:
            stored[name] = (dtype or array.dtype.name, array)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    blobs, end = [], 0
    # Wide elements first: every tensor starts at a multiple of its element, as readers that map files need.
    for name, (kind, array) in sorted(stored.items(), key=lambda item: -item[1][1].itemsize):
        blob = np.ascontiguousarray(array, LAYOUTS[kind]).tobytes()
        header[name] = {
            "dtype": CODES[kind],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(blob)],
        }
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def _joined(found: dict[str, Stored]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for name, tensor in found.items():
        owner = name.removesuffix(SCALE).removesuffix(OFFSET)
        if owner != name and owner in found and found[owner].dtype == "uint8":
            continue
        scale, offset = found.get(name + SCALE), found.get(name + OFFSET)
        if name == INDICES or tensor.dtype != "uint8":
            tensors[name] = tensor
            continue
        if scale is None or offset is None or {scale.dtype, offset.dtype} != {"float32"}:
            raise WrongDtype(
                f"tensor {name[:64]!r} is uint8: send {name[:64]}.scale and {name[:64]}.offset as float32 beside it, "
                "or the latent as float32",
                param=name[:64],
            )
        tensors[name] = Stored(tensor.array, tensor.dtype, scale.array, offset.array)
    return tensors


def _dtype(name: str, code: str) -> str:
    dtype = NAMES.get(code)
    if name == INDICES:
        allowed, wanted = INTEGERS, "uint16 or uint32 (U16, U32)"
    else:
        allowed, wanted = (
            (*FLOATS, "uint8"),
            "float32, float16, bfloat16 or quantised uint8 (F32, F16, BF16, U8)",
        )
    if dtype is None or dtype not in allowed:
        raise WrongDtype(f"tensor {name[:64]!r} is {code[:16]}: send it as {wanted}", param=name[:64])
    return dtype


def _header(body: bytes) -> tuple[dict[str, Any], int]:  # JSON: every value is checked by the caller
    length = int.from_bytes(body[:8], "little")
    if len(body) < 10 or length > len(body) - 8:
        raise NotATensor(f"neither safetensors nor npy, or cut short: {SEND}")
    if length > MAX_HEADER_BYTES:
        raise NotATensor(f"the safetensors header is {length} bytes long, more than is sensible: {SEND}")
    try:
        header = json.loads(body[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        header = None
    if not isinstance(header, dict):
        raise NotATensor(f"neither safetensors nor npy: {SEND}")
    return header, 8 + length


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice")
    return names


def _begin(entry: object) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return offsets[0] if isinstance(offsets, list) and offsets and isinstance(offsets[0], int) else 0


def _entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    if isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}:
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = (
            isinstance(shape, list) and is_shape(shape) and isinstance(offsets, list) and is_shape(offsets)
        )
        if isinstance(dtype, str) and whole and len(offsets) == 2:
            return dtype, tuple(shape), offsets[0], offsets[1]
    raise NotATensor(f"the safetensors header describes {name[:64]!r} wrongly: {SEND}")
