"""Coded latents as one file: safetensors with a stream for each picture, the tables, and checksums.

A file that was cut or changed is refused before anything is decoded. Letters: N pictures, T tables.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from eval.errors import EvaluationError
from eval.rate.coder import Table, Words

FORMAT = 1
BYTES_PER_STREAM = 8  # its length and its checksum, uint32 each


@dataclass(frozen=True, slots=True)
class Coded:
    """What a file holds.

    Attributes:
        streams: uint32 words, one array a picture.
        tables: frequencies, one array a row of symbols.
        about: plain data: what is needed to make latents of the symbols again.
    """

    streams: tuple[Words, ...]
    tables: tuple[Table, ...]
    about: dict[str, Any]  # JSON

    def picture_bytes(self) -> list[int]:
        """What each picture costs: its words, its length and its checksum."""
        return [stream.nbytes + BYTES_PER_STREAM for stream in self.streams]

    @property
    def table_bytes(self) -> int:
        """What the tables cost, once for all pictures."""
        return sum(frequencies.nbytes for frequencies in self.tables)


def write(path: Path, coded: Coded) -> int:
    """Write a file; returns its size in bytes, header and tables included."""
    tensors = {
        "lengths": np.array([len(stream) for stream in coded.streams], dtype=np.uint32),
        "checksums": np.array([zlib.crc32(stream.tobytes()) for stream in coded.streams], dtype=np.uint32),
        "words": np.concatenate(coded.streams).astype(np.uint32),
        "table_lengths": np.array([len(frequencies) for frequencies in coded.tables], dtype=np.uint32),
        "tables": np.concatenate(coded.tables).astype(np.uint32),
    }
    about = json.dumps(coded.about, sort_keys=True, separators=(",", ":"))
    data = save(tensors, metadata={"format": str(FORMAT), "about": about})
    path.write_bytes(data)
    return len(data)


def read(path: Path) -> Coded:
    """Read a file that ``write`` made.

    Raises:
        EvaluationError: if it is none, or was damaged.
    """
    try:
        with safe_open(path, framework="np") as stored:
            metadata = stored.metadata() or {}
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no mapping
        if metadata.get("format") != str(FORMAT):
            raise ValueError(f"format {metadata.get('format')}, known: {FORMAT}")
        streams = _cut(arrays["words"], arrays["lengths"])
        for number, (stream, checksum) in enumerate(zip(streams, arrays["checksums"], strict=True)):
            if zlib.crc32(stream.tobytes()) != int(checksum):
                raise ValueError(f"the stream of picture {number} was changed")
        return Coded(streams, _cut(arrays["tables"], arrays["table_lengths"]), json.loads(metadata["about"]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EvaluationError(f"{path} holds no coded latents: {error}") from None


def _cut(array: Words, lengths: Sequence[int] | Words) -> tuple[Words, ...]:
    ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
    if len(ends) == 0 or int(ends[-1]) != len(array):
        raise ValueError("its lengths do not add up")
    return tuple(np.split(array, ends[:-1]))
