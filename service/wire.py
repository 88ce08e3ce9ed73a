"""Latents and their indices as bytes: safetensors and npy, read without pickle and without torch.

Declared shapes are checked against the bytes that came before anything is allocated: an array is a view of
the body. Sizes on the wire are pixels, ``"height,width"``.
"""

from __future__ import annotations

import ast
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.errors import (
    IndexOutOfRange,
    MissingMetadata,
    NoIndices,
    NotATensor,
    NotFinite,
    TooManyPixels,
    WrongDtype,
    WrongShape,
    WrongSpec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizer.spec import LatentSpec, PartSpec

Array = NDArray[np.float32]
Indices = NDArray[np.integer[Any]]

MAX_HEADER_BYTES = 64 * 1024
MAX_NPY_HEADER_BYTES = 4096
MAX_DIMENSIONS = 6
# Normalised latents have unit variance; a decoder fed with more than this gives NaN, not a picture.
MAX_MAGNITUDE = 1e4
NPY_MAGIC = b"\x93NUMPY"
WRITTEN = {"float32": "F32", "uint16": "U16", "uint32": "U32"}
# The tensor that holds codes, and the types that it may have; all other tensors are float32.
INDICES = "indices"
FLOATS = {"F32": "<f4"}
INTEGERS = {f"{sign}{8 * width}": f"<{kind}{width}" for sign, kind in ("Uu", "Ii") for width in (1, 2, 4, 8)}
SAFETENSORS_MEDIA_TYPE = "application/vnd.safetensors"
SEND = "send the bytes that /v1/encode gave, unchanged"


@dataclass(frozen=True, slots=True)
class WireLatent:
    """A latent as it came, not yet checked against a tokenizer.

    Attributes:
        parts: float32 arrays by name, views of the body.
        size: what the sender says the pixel size is, ``"height,width"``; None if it does not say.
        spec_id: the latent space the sender names; None if it does not say.
        indices: codes instead of parts, of any integer type, a view of the body.
    """

    parts: dict[str, Array]
    size: str | None
    spec_id: str | None
    indices: Indices | None = None


@dataclass(frozen=True, slots=True)
class CheckedLatent:
    """A latent that fits a tokenizer: parts (B, C, ...) float32, finite, or indices (B, ...); ``size`` in pixels."""

    parts: dict[str, Array]
    size: tuple[int, int]
    batch: int
    indices: Indices | None = None


def read_latent(body: bytes, headers: Mapping[str, str]) -> WireLatent:
    """Parse either format, told apart by the first bytes; npy takes size and spec from ``headers``.

    Raises:
        NotATensor: damaged, or neither format.
        WrongDtype: not float32, or for indices not an integer type.
    """
    if body.startswith(NPY_MAGIC):
        size, spec_id = headers.get("x-tessera-size"), headers.get("x-tessera-spec")
        array = read_npy(body)
        if array.dtype.kind in "ui":
            return WireLatent({}, size, spec_id, array)
        return WireLatent({"z": array}, size, spec_id)
    tensors, metadata = read_safetensors(body)
    indices = tensors.pop(INDICES, None)
    return WireLatent(tensors, metadata.get("size"), metadata.get("spec_id"), indices)


def check(
    latent: WireLatent, spec: LatentSpec, spec_id: str, *, max_pixels: int, max_batch: int
) -> CheckedLatent:
    """Refuse a latent that ``spec`` does not describe; gives every part a batch axis.

    Raises:
        MissingMetadata, WrongSpec, TooManyPixels, NoIndices, WrongShape, NotFinite, IndexOutOfRange: in this order.
    """
    if latent.spec_id is None or latent.size is None:
        missing = "spec_id" if latent.spec_id is None else "size"
        header = "x-tessera-spec" if missing == "spec_id" else "x-tessera-size"
        raise MissingMetadata(
            f"the latent does not say its {missing}: {SEND}; safetensors carry it in the metadata, "
            f"npy needs the header {header}",
            param=missing,
        )
    if latent.spec_id != spec_id:
        raise WrongSpec(
            f"the latent belongs to spec {latent.spec_id[:64]}, this tokenizer is {spec_id}: name the "
            "tokenizer "
            "that made it with ?model= (GET /v1/models lists them), or encode the picture again",
            param="spec_id",
        )
    size = read_size(latent.size)
    pixels = math.prod(spec.padded(size))
    if pixels > max_pixels:
        raise TooManyPixels(
            f"size {size[0]},{size[1]} is {pixels} pixels after padding and this server decodes up to "
            f"{max_pixels}: "
            "encode a smaller picture",
            param="size",
            details={"max_pixels": max_pixels},
        )
    if latent.indices is not None:
        return _check_indices(latent.parts, latent.indices, spec, size, max_batch)
    parts, batch = _with_batch(latent.parts, spec.shape(size), size)
    _refuse_count(batch, max_batch, "z")
    for name, array in parts.items():
        largest = float(np.max(np.abs(array), initial=0.0))
        if not largest <= MAX_MAGNITUDE:  # NaN compares false
            raise NotFinite(
                f"tensor {name!r} holds NaN, infinity or values beyond {MAX_MAGNITUDE:g}: "
                "latents are normalised to about unit variance; encode the picture again",
                param=name,
            )
    return CheckedLatent(parts, size, batch)


def coded_part(spec: LatentSpec) -> PartSpec:
    """The part of a latent that indices stand for.

    Raises:
        NoIndices: if the latent is continuous, or of several parts.
    """
    if len(spec.parts) == 1 and spec.z.codebook_size is not None:
        return spec.z
    what = "is continuous" if len(spec.parts) == 1 else "has several parts"
    raise NoIndices(
        f"this tokenizer's latent {what}, so there are no indices: use the latent itself (what=latent, tensor z, "
        "float32), or a tokenizer that GET /v1/models lists with codes",
        param="what",
    )


def read_size(text: str) -> tuple[int, int]:
    """``"480,640"`` -> (480, 640).

    Raises:
        WrongShape: anything else.
    """
    sides = [side.strip() for side in text[:32].split(",")]
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and int(side) > 0 for side in sides):
        raise WrongShape(
            f"size {text[:32]!r} must be height,width in pixels, for example 480,640: {SEND}", param="size"
        )
    return int(sides[0]), int(sides[1])


def write_size(size: tuple[int, ...]) -> str:
    """(480, 640) -> ``"480,640"``."""
    return ",".join(str(side) for side in size)


def read_safetensors(body: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:  # float32 and integers
    """The float32 tensors, ``indices`` of any integer type, and the metadata of a safetensors file.

    Raises:
        NotATensor: the header lies, does not cover the bytes exactly, or is not a header.
        WrongDtype: a tensor is not F32, or ``indices`` are no integers.
    """
    header, start = _safetensors_header(body)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotATensor(f"the safetensors metadata must be text by name: {SEND}")
    if not header:
        raise NotATensor(f"the safetensors file holds no tensor: {SEND}")
    parts: dict[str, NDArray[Any]] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        dtype, shape, begin, stop = _entry(name, entry)
        kinds, wanted = (
            (INTEGERS, "uint16 or uint32 (U16, U32)") if name == INDICES else (FLOATS, "float32 (F32)")
        )
        if dtype not in kinds:
            raise WrongDtype(f"tensor {name[:64]!r} is {dtype[:16]}: send it as {wanted}", param=name[:64])
        kind = np.dtype(kinds[dtype])
        if begin != end or stop - begin != kind.itemsize * math.prod(shape) or stop > len(body) - start:
            raise NotATensor(
                f"tensor {name[:64]!r} of shape {shape} does not match its bytes, the file may be cut short: "
                f"{SEND}"
            )
        parts[name] = np.frombuffer(body, kind, math.prod(shape), start + begin).reshape(shape)
        end = stop
    if end != len(body) - start:
        raise NotATensor(f"{len(body) - start - end} bytes belong to no tensor: {SEND}")
    return parts, metadata


def write_safetensors(
    parts: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],  # float32, uint16 or uint32
) -> bytes:
    """A safetensors file of float32, uint16 and uint32 tensors."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    blobs, end = [], 0
    for name, array in parts.items():
        blob = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        dtype = WRITTEN[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [end, end + len(blob)]}
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def read_npy(body: bytes) -> NDArray[Any]:  # float32 or integers
    """A float32 or integer npy array, without objects.

    Raises:
        NotATensor: damaged, or longer or shorter than it says.
        WrongDtype: neither little-endian float32 nor integers.
    """
    major = body[6] if len(body) > 6 else 0
    width = 2 if major == 1 else 4
    start = 8 + width
    if major not in (1, 2, 3) or len(body) < start:
        raise NotATensor(f"not a readable npy file: {SEND}")
    length = int.from_bytes(body[8:start], "little")
    if length > MAX_NPY_HEADER_BYTES or start + length > len(body):
        raise NotATensor(f"the npy header is {length} bytes long, more than there is or is sensible: {SEND}")
    try:
        header = ast.literal_eval(body[start : start + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        header = None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise NotATensor(f"the npy header cannot be read: {SEND}")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if descr not in ("<f4", "|u1", "|i1", *INTEGERS.values()):
        raise WrongDtype(
            f"the npy array is {str(descr)[:32]}: send a latent as little-endian float32 (<f4), indices as uint16 "
            "or uint32 (<u2, <u4)",
            param="z",
        )
    kind = np.dtype(descr)
    if not isinstance(fortran, bool) or not isinstance(shape, tuple) or not _is_shape(shape):
        raise NotATensor(f"the npy header cannot be read: {SEND}")
    if len(body) - start - length != kind.itemsize * math.prod(shape):
        raise NotATensor(f"shape {shape} does not match the bytes, the file may be cut short: {SEND}")
    flat = np.frombuffer(body, kind, math.prod(shape), start + length)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def write_npy(array: NDArray[Any]) -> bytes:  # float32 latents and uint8 pixels
    """An npy file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _safetensors_header(
    body: bytes,
) -> tuple[dict[str, Any], int]:  # JSON: every value is checked by the caller
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
            isinstance(shape, list) and _is_shape(shape) and isinstance(offsets, list) and _is_shape(offsets)
        )
        if isinstance(dtype, str) and whole and len(offsets) == 2:
            return dtype, tuple(shape), offsets[0], offsets[1]
    raise NotATensor(f"the safetensors header describes {name[:64]!r} wrongly: {SEND}")


def _is_shape(values: list[object] | tuple[object, ...]) -> bool:
    if len(values) > MAX_DIMENSIONS:
        return False
    return all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**40 for v in values)


def _with_batch(
    parts: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]
) -> tuple[dict[str, NDArray[Any]], int]:
    if set(parts) != set(shapes):
        have, want = ", ".join(sorted(name[:64] for name in parts)), ", ".join(shapes)
        raise WrongShape(
            f"the file holds tensors {have}, this tokenizer wants {want}", param=next(iter(shapes))
        )
    batched: dict[str, NDArray[Any]] = {}
    for name, shape in shapes.items():
        array = parts[name]
        if array.shape == shape:
            array = array[None]
        if array.shape[1:] != shape:
            raise WrongShape(
                f"tensor {name!r} is {list(array.shape)}, but a picture of {size[0]},{size[1]} pixels has "
                f"{[1, *shape]}: send the size that belongs to the latent",
                param=name,
                details={"expected": [1, *shape]},
            )
        batched[name] = array
    counts = {array.shape[0] for array in batched.values()}
    if len(counts) != 1:
        raise WrongShape(
            "the parts of the latent hold different numbers of samples", param=next(iter(shapes))
        )
    return batched, counts.pop()


def _check_indices(
    parts: Mapping[str, Array], indices: Indices, spec: LatentSpec, size: tuple[int, int], max_batch: int
) -> CheckedLatent:
    part = coded_part(spec)
    if parts:
        raise WrongShape("the file holds indices and other tensors: send one of them", param=INDICES)
    batched, batch = _with_batch({INDICES: indices}, {INDICES: part.index_shape(spec.padded(size))}, size)
    _refuse_count(batch, max_batch, INDICES)
    codes = part.codebook_size or 0
    low, high = int(batched[INDICES].min()), int(batched[INDICES].max())
    if low < 0 or high >= codes:
        raise IndexOutOfRange(
            f"indices go from {low} to {high}, this tokenizer has the codes 0 to {codes - 1}: {SEND}",
            param=INDICES,
            details={"codebook_size": codes},
        )
    return CheckedLatent({}, size, batch, batched[INDICES].astype(part.index_dtype))


def _refuse_count(batch: int, max_batch: int, name: str) -> None:
    if not 1 <= batch <= max_batch:
        raise WrongShape(f"{batch} samples: send 1 to {max_batch} in one request", param=name)
