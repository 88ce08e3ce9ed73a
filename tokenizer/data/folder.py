"""Pictures or videos as files below a folder, the first level of folders being their classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tokenizer.data.kind import PICTURES, Kind


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture, or a video, that is a file of its own.

    Attributes:
        path: the file.
        name: its path from the folder that was opened.
    """

    path: Path
    name: str

    def __str__(self) -> str:
        return str(self.path)

    @property
    def num_bytes(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    @property
    def mtime_ns(self) -> int:
        """When the file was last changed."""
        return self.path.stat().st_mtime_ns

    def open(self) -> BinaryIO:
        """The file, open."""
        return self.path.open("rb")

    def read(self) -> bytes:
        """The file; OSError if it cannot be read."""
        return self.path.read_bytes()


class Folder:
    """All pictures, or all videos, below a folder, in the order of their paths.

    Attributes:
        class_names: the folders of the first level that hold pictures, in alphabetical order; "" where pictures
            lie beside them.

    Raises:
        ValueError: if the folder does not exist or holds no picture.
    """

    def __init__(self, path: Path, kind: Kind = PICTURES) -> None:
        self.path = path
        self.files = list_images(path, kind)
        inside = [file.relative_to(path).parts for file in self.files]
        folders = [parts[0] if len(parts) > 1 else "" for parts in inside]
        self.class_names = sorted(set(folders))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        self._labels = [numbers[folder] for folder in folders]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> PictureFile:
        file = self.files[index]
        return PictureFile(file, file.relative_to(self.path).as_posix())

    def label(self, index: int) -> int:
        """Class of a picture, a place in ``class_names``."""
        return self._labels[index]


def list_images(path: Path, kind: Kind = PICTURES) -> list[Path]:
    """All pictures below a folder, in the order of their paths; or all files of another kind.

    Raises:
        ValueError: if the folder does not exist or holds no picture.
    """
    if not path.is_dir():
        raise ValueError(f"data.path={path} is not a folder")
    files = sorted(find_images(path, kind))
    if not files:
        raise ValueError(f"data.path={path} holds no {kind} and no .tar shards")
    return files


def find_images(path: Path, kind: Kind = PICTURES) -> Iterator[Path]:
    """The pictures, or files of another kind, below a folder, in no order."""
    return (file for file in path.rglob("*") if file.suffix.lower() in kind.suffixes and file.is_file())
