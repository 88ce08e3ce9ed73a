"""Which weights a folder holds: a hash of what loading reads, and a cheap stamp that tells when to look again."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from tokenizer.core import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

# What loading reads, by the end of the name; the rest (pictures, notes) may change.
READ = (".json", ".safetensors", ".model", ".txt", ".jinja")
DIGITS = 16


def stamp_of(folder: Path) -> str:
    """Changes with the name, size or time of any file that loading reads; reads no file.

    Raises:
        OSError: if the folder is gone.
    """
    facts = []
    for path in files_of(folder):
        status = path.stat()
        facts.append(f"{path.relative_to(folder).as_posix()} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def identity_of(folder: Path) -> str:
    """16 hexadecimal digits over the names and contents of all files that loading reads."""
    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:DIGITS]


def sha256_of(path: Path) -> str:
    """sha256 of a file, remembered for as long as its size and time stay."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def files_of(folder: Path) -> list[Path]:
    """The files that loading reads, in a fixed order.

    Raises:
        OSError: if the folder is gone.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder.name} is gone")
    return sorted(path for path in folder.rglob("*") if path.suffix in READ and path.is_file())


def weights_of(folder: Path) -> list[Path]:
    """Its safetensors files, without variants in another precision that lie beside them."""
    return [path for path in files_of(folder) if path.suffix == ".safetensors" and path.name.count(".") == 1]


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    return checkpoint.sha256_of(path)
