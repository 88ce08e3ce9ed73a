"""Latents and indices as bytes of an answer, in the format and type that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from service.errors import InvalidParameter
from service.wire.dtypes import from_float32
from service.wire.npy import NPY_MEDIA_TYPE, write_npy
from service.wire.quantised import quantise
from service.wire.raw import RAW_MEDIA_TYPE, write_raw
from service.wire.safetensors import INDICES, SAFETENSORS_MEDIA_TYPE, write_safetensors
from service.wire.sizes import write_size
from service.wire.told import DTYPE, MAX_VALUES, OFFSET, SCALE, SHAPE, write_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from service.wire.dtypes import Array, Indices, LatentDtype
    from tokenizer.spec import LatentSpec

LatentFormat = Literal["safetensors", "npy", "raw"]


@dataclass(frozen=True, slots=True)
class WrittenLatent:
    """A latent as bytes, with its content type and what must be told beside it."""

    body: bytes
    media_type: str
    headers: dict[str, str]


def check_format(spec: LatentSpec, file_format: str, dtype: str, samples: int) -> None:
    """Refuse, before any work, what ``write_latent`` could not write.

    Raises:
        InvalidParameter: several parts, or too many scales for headers, in a format that needs headers.
    """
    if file_format not in ("npy", "raw"):
        return
    if [part.name for part in spec.parts] != ["z"]:  # what a file without names is read as
        raise InvalidParameter(
            "this tokenizer's latent has several parts: ask for format=safetensors", param="format"
        )
    if dtype == "uint8" and samples * spec.z.channels > MAX_VALUES:
        raise InvalidParameter(
            f"{samples * spec.z.channels} scales do not fit into headers: ask for format=safetensors, or for one "
            "picture at a time",
            param="format",
        )


def write_latent(
    parts: Mapping[str, Array], metadata: Mapping[str, str], *, file_format: LatentFormat, dtype: LatentDtype
) -> WrittenLatent:
    """A latent that ``check_format`` allows, as bytes.

    Args:
        parts: float32 (B, C, ...) by name.
        metadata: for safetensors; the others tell it in headers that the caller knows.
        file_format: of the file.
        dtype: of its elements; uint8 is quantised.
    """
    if file_format == "safetensors":
        if dtype == "uint8":
            body = write_safetensors(parts, metadata, dtype)
        else:
            stored = {name: from_float32(values, dtype) for name, values in parts.items()}
            body = write_safetensors(stored, metadata, dtype)
        return WrittenLatent(body, SAFETENSORS_MEDIA_TYPE, {})
    (z,) = parts.values()
    headers: dict[str, str] = {DTYPE: dtype}
    if dtype == "uint8":
        quantised = quantise(z)
        headers |= {SCALE: write_values(quantised.scale), OFFSET: write_values(quantised.offset)}
        elements: NDArray[Any] = quantised.codes  # uint8
    else:
        elements = from_float32(z, dtype)
    return _bare(elements, dtype, file_format, headers)


def write_indices(indices: Indices, metadata: Mapping[str, str], file_format: LatentFormat) -> WrittenLatent:
    """uint16 or uint32 codes as bytes."""
    if file_format == "safetensors":
        body = write_safetensors({INDICES: indices}, metadata)
        return WrittenLatent(body, SAFETENSORS_MEDIA_TYPE, {})
    return _bare(indices, indices.dtype.name, file_format, {DTYPE: indices.dtype.name})


def _bare(
    array: NDArray[Any], dtype: str, file_format: LatentFormat, headers: dict[str, str]
) -> WrittenLatent:
    """npy or raw; only raw tells its shape, which is how the two are told apart when they come back."""
    if file_format == "npy":
        return WrittenLatent(write_npy(array), NPY_MEDIA_TYPE, headers)
    told = headers | {SHAPE: write_size(array.shape)}
    return WrittenLatent(write_raw(array, dtype), RAW_MEDIA_TYPE, told)
