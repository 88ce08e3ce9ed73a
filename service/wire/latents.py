"""A request's latent or indices: read from any format, and checked against a tokenizer.

safetensors carry size and spec themselves; npy and raw tensors need them in headers (told.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import (
    IndexOutOfRange,
    MissingMetadata,
    NoIndices,
    NotFinite,
    TooManyPixels,
    WrongDtype,
    WrongShape,
    WrongSpec,
)
from service.video_errors import NoClips
from service.wire.dtypes import FLOATS
from service.wire.npy import NPY_MAGIC, read_npy
from service.wire.raw import read_raw
from service.wire.safetensors import INDICES, SEND, read_stored
from service.wire.sizes import read_shape, read_size, write_size
from service.wire.stored import Stored
from service.wire.told import DTYPE, OFFSET, SCALE, SHAPE, SIZE, SPEC, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from service.wire.dtypes import Array, Indices
    from tokenizer.spec import LatentSpec, PartSpec

# Normalised latents have unit variance; a decoder fed with more than this gives NaN, not a picture.
MAX_MAGNITUDE = 1e4


@dataclass(frozen=True, slots=True)
class WireLatent:
    """A latent as it came, not yet checked against a tokenizer.

    Attributes:
        parts: tensors by name, views of the body.
        size: what the sender says the pixel size is, ``"height,width"``, of a clip ``"frames,height,width"``; or None.
        spec_id: the latent space the sender names; None if it does not say.
        indices: codes instead of parts, of any integer type, a view of the body.
    """

    parts: dict[str, Stored]
    size: str | None
    spec_id: str | None
    indices: Indices | None = None


@dataclass(frozen=True, slots=True)
class CheckedLatent:
    """A latent that fits a tokenizer: parts (B, C, ...) float32, finite, or indices (B, ...); ``size`` in pixels.

    Of a clip ``size`` has frames first, and the batch is 1.
    """

    parts: dict[str, Array]
    size: tuple[int, ...]
    batch: int
    indices: Indices | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.size[-2], self.size[-1]


def read_latent(body: bytes, headers: Mapping[str, str]) -> WireLatent:
    """Parse any format: raw where a shape is told, else npy or safetensors by the first bytes.

    Args:
        body: the file, or the elements alone.
        headers: of the request, or query parameters under the names of ``told.TOLD``.

    Raises:
        NotATensor: damaged, or no known format.
        WrongDtype: neither a latent's type nor, for indices, an integer type.
        WrongShape: the shape that is told is none.
    """
    npy = body.startswith(NPY_MAGIC)
    if not npy and SHAPE not in headers:
        tensors, metadata = read_stored(body)
        indices = tensors.pop(INDICES, None)
        codes = None if indices is None else indices.array
        return WireLatent(tensors, metadata.get("size"), metadata.get("spec_id"), codes)
    size, spec_id = headers.get(SIZE), headers.get(SPEC)
    if npy:
        array = read_npy(body)
        dtype = _npy_dtype(array, headers.get(DTYPE))
    else:
        dtype = headers.get(DTYPE, "float32")
        array = read_raw(body, read_shape(headers[SHAPE]), dtype)
    stored = Stored(array, dtype, read_values(headers, SCALE), read_values(headers, OFFSET))
    if stored.is_latent:
        return WireLatent({"z": stored}, size, spec_id)
    return WireLatent({}, size, spec_id, array)


def check(
    latent: WireLatent,
    spec: LatentSpec,
    spec_id: str,
    *,
    max_pixels: int,
    max_batch: int,
    max_clip_pixels: int | None = None,
) -> CheckedLatent:
    """Refuse a latent that ``spec`` does not describe; gives every part a batch axis and float32.

    ``max_clip_pixels`` is in place of ``max_pixels`` for clips, which are refused without it.

    Raises:
        NoClips: a clip, where there can be none.
        MissingMetadata, WrongSpec, TooManyPixels, NoIndices, WrongShape, NotFinite, IndexOutOfRange: in this order.
    """
    if latent.spec_id is None or latent.size is None:
        missing, header = ("spec_id", SPEC) if latent.spec_id is None else ("size", SIZE)
        raise MissingMetadata(
            f"the latent does not say its {missing}: {SEND}; safetensors carry it in the metadata, "
            f"npy and raw tensors need the header {header}",
            param=missing,
        )
    if latent.spec_id != spec_id:
        raise WrongSpec(
            f"the latent belongs to spec {latent.spec_id[:64]}, this tokenizer is {spec_id}: name the "
            "tokenizer that made it with ?model= (GET /v1/models lists them), or encode the picture again",
            param="spec_id",
        )
    size = read_size(latent.size)
    if len(size) == 3:
        if spec.time == "none" or max_clip_pixels is None:
            raise NoClips(
                f"size {write_size(size)} is of a clip, and this tokenizer or route decodes pictures: name a tokenizer "
                "of videos with ?model= (GET /v1/models), and ask /v1/decode",
                param="size",
            )
        max_pixels, max_batch = max_clip_pixels, 1
    pixels = math.prod(spec.padded(size))
    refuse_pixels(1, size, pixels, max_pixels)
    if latent.indices is not None:
        checked = _check_indices(latent.parts, latent.indices, spec, size, max_batch)
        refuse_pixels(checked.batch, size, pixels, max_pixels)
        return checked
    parts, batch = _with_batch(latent.parts, spec.shape(size), size, spec.part)
    refuse_count(batch, max_batch, "z")
    refuse_pixels(batch, size, pixels, max_pixels)
    return CheckedLatent({name: finite(stored, name) for name, stored in parts.items()}, size, batch)


def finite(stored: Stored, name: str) -> Array:
    """The numbers (B, C, ...), float32.

    Raises:
        NotFinite: a value that no normalised latent has.
    """
    values = stored.numbers()
    largest = float(np.max(np.abs(values), initial=0.0))
    if not largest <= MAX_MAGNITUDE:  # NaN compares false
        raise NotFinite(
            f"tensor {name!r} holds NaN, infinity or values beyond {MAX_MAGNITUDE:g}: "
            "latents are normalised to about unit variance; encode the picture again",
            param=name,
        )
    return values


def refuse_count(batch: int, max_batch: int, name: str) -> None:
    """WrongShape unless there are 1 to ``max_batch`` samples."""
    if not 1 <= batch <= max_batch:
        raise WrongShape(f"{batch} samples: send 1 to {max_batch} in one request", param=name)


def refuse_tokens(latent: CheckedLatent, num_tokens: int | None, spec: LatentSpec) -> None:
    """WrongShape if the row that was sent cannot be decoded as its first ``num_tokens`` tokens."""
    if num_tokens is None:
        return
    sent = latent.indices if latent.indices is not None else next(iter(latent.parts.values()))
    count = sent.shape[-1]
    if num_tokens > count or (spec.z.allocation is not None and num_tokens != count):
        raise WrongShape(
            f"{count} tokens were sent, of which the first {num_tokens} do not decode: encode the picture again with "
            f"num_tokens={num_tokens}",
            param="num_tokens",
        )


def refuse_pixels(batch: int, size: tuple[int, ...], pixels: int, max_pixels: int) -> None:
    """TooManyPixels if ``batch`` pictures of ``pixels`` each, after padding, are more than one request may have."""
    if batch * pixels > max_pixels:
        many = "" if batch == 1 else f" and there are {batch}"
        raise TooManyPixels(
            f"size {write_size(size)} is {pixels} pixels after padding{many}; this server decodes up to "
            f"{max_pixels} in one request: "
            + ("encode a smaller picture" if batch == 1 else "send fewer at once"),
            param="size",
            details={"max_pixels": max_pixels},
        )


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


def _npy_dtype(array: NDArray[Any], told: str | None) -> str:  # as read_npy gives them
    """What an npy array holds: itself, or bits of bfloat16 in uint16 where a header says so."""
    if told == "bfloat16" and array.dtype == np.uint16:
        return told
    if told is not None and told != array.dtype.name and told in FLOATS:
        raise WrongDtype(
            f"{DTYPE} says {told} and the npy array is {array.dtype.name}: leave the header out, or for bfloat16 "
            "send its bits as uint16",
            param="dtype",
        )
    return array.dtype.name


def _with_batch(
    parts: Mapping[str, Stored],
    shapes: Mapping[str, tuple[int, ...]],
    size: tuple[int, ...],
    part_of: Callable[[str], PartSpec],
) -> tuple[dict[str, Stored], int]:
    if set(parts) != set(shapes):
        have, want = ", ".join(sorted(name[:64] for name in parts)), ", ".join(shapes)
        raise WrongShape(
            f"the file holds tensors {have}, this tokenizer wants {want}", param=next(iter(shapes))
        )
    batched: dict[str, Stored] = {}
    for name, shape in shapes.items():
        stored, part = parts[name], part_of(name)
        if part.fits(stored.array.shape, shape):
            stored = stored.reshaped((1, *stored.array.shape))
        if not part.fits(stored.array.shape[1:], shape):
            fewer = f" (or fewer tokens, {part.known_counts()})" if part.layout == "1d" else ""
            raise WrongShape(
                f"tensor {name!r} is {list(stored.array.shape)}, but pixels of {write_size(size)} have "
                f"{[1, *shape]}{fewer}: send the size that belongs to the latent",
                param=name,
                details={"expected": [1, *shape]},
            )
        batched[name] = stored
    counts = {stored.array.shape[0] for stored in batched.values()}
    if len(counts) != 1:
        raise WrongShape(
            "the parts of the latent hold different numbers of samples", param=next(iter(shapes))
        )
    return batched, counts.pop()


def _check_indices(
    parts: Mapping[str, Stored], indices: Indices, spec: LatentSpec, size: tuple[int, ...], max_batch: int
) -> CheckedLatent:
    part = coded_part(spec)
    if parts:
        raise WrongShape("the file holds indices and other tensors: send one of them", param=INDICES)
    wanted = {INDICES: part.index_shape(spec.padded(size), spec.shape(size)[part.name])}
    batched, batch = _with_batch({INDICES: Stored(indices, indices.dtype.name)}, wanted, size, lambda _: part)
    refuse_count(batch, max_batch, INDICES)
    found: Indices = batched[INDICES].array
    codes = part.codebook_size or 0
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= codes:
        raise IndexOutOfRange(
            f"indices go from {low} to {high}, this tokenizer has the codes 0 to {codes - 1}: {SEND}",
            param=INDICES,
            details={"codebook_size": codes},
        )
    return CheckedLatent({}, size, batch, found.astype(part.index_dtype))
