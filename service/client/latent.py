"""A latent in the hands of a caller: arrays, the size in pixels, the latent space; and as a file.

Letters: B batch, C latent channels, Q codebooks.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.client.errors import BadAnswer
from service.wire.dtypes import from_float32
from service.wire.safetensors import INDICES, read_safetensors, write_safetensors
from service.wire.sizes import read_size, write_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from service.wire.dtypes import LatentDtype

SIZE, SPEC_ID = "size", "spec_id"


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """What an encoder made of pictures of one size.

    Attributes:
        parts: float32 (B, C, ...) by name, normalised; one part ``z`` in ordinary families. Empty with ``indices``.
        size: (H, W) in pixels of the picture that it decodes to.
        spec_id: the latent space; only the tokenizer of this space decodes it.
        indices: codes (B, ...) or (B, Q, ...) of a discrete tokenizer, uint16 or uint32.
        metadata: what else the file said, text by name.
    """

    parts: dict[str, NDArray[np.float32]]
    size: tuple[int, ...]
    spec_id: str
    indices: NDArray[np.integer[Any]] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def z(self) -> NDArray[np.float32]:
        """The part of ordinary families, (B, C, ...)."""
        return self.parts["z"]

    @property
    def num_samples(self) -> int:
        """B."""
        return int(next(iter(self._tensors().values())).shape[0])

    @property
    def num_bytes(self) -> int:
        """Of the arrays."""
        return sum(array.nbytes for array in self._tensors().values())

    def __getitem__(self, index: int) -> Latent:
        """One sample, still with its batch axis."""
        rows = slice(index, index + 1 or None)
        parts = {name: array[rows] for name, array in self.parts.items()}
        indices = None if self.indices is None else self.indices[rows]
        if not len(next(iter(parts.values())) if indices is None else indices):
            raise IndexError(f"sample {index} of {self.num_samples}")
        return Latent(parts, self.size, self.spec_id, indices, self.metadata)

    def to_bytes(self, dtype: LatentDtype = "float32") -> bytes:
        """A safetensors file that ``/v1/decode`` takes.

        Args:
            dtype: of the parts; ``uint8`` is quantised. Indices keep their own.
        """
        metadata = {**self.metadata, SIZE: write_size(self.size), SPEC_ID: self.spec_id}
        if self.indices is not None:
            return write_safetensors({INDICES: self.indices}, metadata)
        if dtype == "uint8":
            return write_safetensors(self.parts, metadata, dtype)
        return write_safetensors(
            {name: from_float32(array, dtype) for name, array in self.parts.items()}, metadata, dtype
        )

    @classmethod
    def from_bytes(cls, body: bytes) -> Latent:
        """Read what ``/v1/encode`` or ``to_bytes`` gave.

        Raises:
            NotATensor, WrongDtype, WrongShape: no such file, or a damaged one.
            BadAnswer: it does not say its size or its latent space.
        """
        tensors, metadata = read_safetensors(body)
        if SIZE not in metadata or SPEC_ID not in metadata:
            raise BadAnswer(
                f"the latent does not say its {SIZE} and {SPEC_ID}: only files with both can be decoded"
            )
        rest = {name: text for name, text in metadata.items() if name not in (SIZE, SPEC_ID)}
        indices = tensors.pop(INDICES, None)
        return cls(tensors, read_size(metadata[SIZE]), metadata[SPEC_ID], indices, rest)

    def save(self, path: str | os.PathLike[str], dtype: LatentDtype = "float32") -> None:
        """Write ``to_bytes``, whole or not at all."""
        write_whole(Path(path), self.to_bytes(dtype))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Latent:
        """Read a file.

        Raises:
            OSError, and what ``from_bytes`` raises.
        """
        return cls.from_bytes(Path(path).read_bytes())

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self._tensors().items())
        height, width = self.size
        ratio = 3 * math.prod(self.size) * self.num_samples / max(1, self.num_bytes)
        return (
            f"Latent({shapes}, {height}x{width} pixels, spec {self.spec_id[:12]}, {ratio:.1f} times smaller)"
        )

    def _tensors(self) -> dict[str, NDArray[Any]]:  # float32 parts, or the indices
        return dict(self.parts) if self.indices is None else {INDICES: self.indices}


def write_whole(path: Path, body: bytes) -> None:
    """Write a file whole or not at all: what exists is finished."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(body):x}.tmp")
    try:
        temporary.write_bytes(body)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
