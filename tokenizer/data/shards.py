"""Pictures or videos in tar shards, read by their offset: any order, any number of processes, nothing unpacked."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tokenizer.data.kind import PICTURES, Kind
from tokenizer.data.tar_index import Label, load_index

CLASSES = "classes.json"
OPEN_SHARDS = 128


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as it was indexed.

    Attributes:
        path: the file.
        name: its path from the folder that was opened.
        num_bytes, mtime_ns: what tells it from another file of that name.
    """

    path: Path
    name: str
    num_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Member:
    """A picture, or a video, in a shard.

    Attributes:
        shard: where it lies.
        member: its name there.
        offset, num_bytes: of its bytes.
    """

    shard: Shard
    member: str
    offset: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{self.shard.path}: {self.member}"

    @property
    def name(self) -> str:
        """Shard and member as one path."""
        return f"{self.shard.name}/{self.member}"

    @property
    def mtime_ns(self) -> int:
        """When the shard was last changed."""
        return self.shard.mtime_ns

    def open(self) -> BinaryIO:
        """Its bytes as a file of their own.

        Raises:
            RuntimeError: as ``read``.
        """
        return io.BufferedReader(_Section(_open(self.shard), self.offset, self.num_bytes))

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            RuntimeError: if the shard is gone or was changed since it was indexed: unlike a corrupt picture, that
                is no reason to go on with others.
            ValueError: if bytes are missing.
        """
        data = _open(self.shard).read(self.num_bytes, self.offset)
        if len(data) != self.num_bytes:
            raise ValueError(f"only {len(data)} of its {self.num_bytes} bytes are there")
        return data


class Shards:
    """The pictures of tar shards: shards in the order given, in each the order in which its pictures lie.

    The labels are those of the samples (see ``tar_index.py``); numbers take their names from ``classes.json`` beside
    the first shard, a list, where there is one. Samples without labels are all of one class, "".

    Args:
        files: the shards.
        kind: what of them is read.

    Raises:
        ValueError: naming shard and member, if a shard cannot be used or labels do not fit together.
    """

    def __init__(self, files: Sequence[Path], kind: Kind = PICTURES) -> None:
        self.kind = kind
        folder = Path(os.path.commonpath([file.absolute().parent for file in files]))
        self.shards: list[Shard] = []
        names: list[bytes] = []
        offsets, sizes, counts = [], [], []
        labels: list[Label] = []
        for file in files:
            index = load_index(file, kind)
            name = file.absolute().relative_to(folder).as_posix()
            self.shards.append(Shard(file, name, index.num_bytes, index.mtime_ns))
            encoded = [member.encode("utf-8", "surrogateescape") for member in index.names]
            names += encoded
            offsets.append(np.asarray(index.offsets, np.int64))
            sizes.append(np.asarray(index.sizes, np.int64))
            counts.append(len(encoded))
            labels += index.labels
        # Arrays and one run of bytes: millions of small objects would be copied into every process that reads.
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._offsets, self._sizes = np.concatenate(offsets), np.concatenate(sizes)
        self._stops = np.cumsum(counts, dtype=np.int64)
        first = next((i for i, label in enumerate(labels) if type(label) is not type(labels[0])), None)
        if first is not None:
            raise ValueError(
                f"{self[0]} has {_told(labels[0])} and {self[first]} has {_told(labels[first])}: "
                "all samples need a label of one kind, or none"
            )
        known = files[0].parent / CLASSES
        self.class_names, self._labels = _classes(labels, _class_file(known))
        largest = int(self._labels.max())
        if largest >= len(self.class_names):
            raise ValueError(
                f"{self[int(self._labels.argmax())]} is of class {largest}, but {known} names "
                f"{len(self.class_names)} classes"
            )

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Member:
        if not 0 <= index < len(self):
            raise IndexError(f"number {index} of {len(self)} {self.kind.plural}")
        shard = self.shards[int(np.searchsorted(self._stops, index, side="right"))]
        start, stop = int(self._ends[index - 1]) if index else 0, int(self._ends[index])
        member = self._names[start:stop].decode("utf-8", "surrogateescape")
        return Member(shard, member, int(self._offsets[index]), int(self._sizes[index]))

    def label(self, index: int) -> int:
        """Class of a picture, a place in ``class_names``."""
        return int(self._labels[index])


class _Open:
    """An open shard; closed when nobody holds it any more, so that a reader in another thread never loses it."""

    def __init__(self, shard: Shard) -> None:
        try:
            self.descriptor = os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RuntimeError(f"{shard.path} cannot be opened any more: {error}") from error
        state = os.fstat(self.descriptor)
        if (state.st_size, state.st_mtime_ns) != (shard.num_bytes, shard.mtime_ns):
            raise RuntimeError(f"{shard.path} was changed since it was indexed: start again")

    def read(self, num_bytes: int, offset: int) -> bytes:
        return os.pread(self.descriptor, num_bytes, offset)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # not if opening failed
            os.close(self.descriptor)


class _Section(io.RawIOBase):
    """Some bytes of a shard as a file; places are kept here, so that any number of readers share the shard."""

    def __init__(self, shard: _Open, offset: int, num_bytes: int) -> None:
        self._shard, self._offset, self._num_bytes = shard, offset, num_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # what can be written to, for which Python 3.11 has no type
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._num_bytes - self._at))
        data = self._shard.read(count, self._offset + self._at) if count else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@lru_cache(maxsize=OPEN_SHARDS)
def _open(shard: Shard) -> _Open:
    return _Open(shard)


def _classes(labels: Sequence[Label], known: list[str] | None) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the classes and the number of each sample; labels are all numbers, all names or all None."""
    if labels[0] is None:
        return [""], np.zeros(len(labels), np.int64)
    if isinstance(labels[0], int):
        numbers = np.asarray(labels, np.int64)
        return known or [str(number) for number in range(int(numbers.max()) + 1)], numbers
    names = sorted({str(label) for label in labels})
    places = {name: number for number, name in enumerate(names)}
    return names, np.asarray([places[str(label)] for label in labels], np.int64)


def _class_file(path: Path) -> list[str] | None:
    """The names in ``classes.json``; None if there is none."""
    if not path.is_file():
        return None
    try:
        names = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{path} must be a list of class names, like ["cat", "dog"]')
    return names


def _told(label: Label) -> str:
    return "no label" if label is None else f"the label {label!r}"
