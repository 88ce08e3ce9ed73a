"""The files of jobs: one folder each, named by its id, with the request's body, the result, and what the kind adds."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

BODY = "body"
RESULT = "result"
# A folder comes before its row: one without a row is left alone for so long.
ORPHAN_S = 3600.0


class JobFolders:
    """Folders below one root.

    Args:
        root: made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def of(self, job_id: str) -> Path:
        """The folder of a job; ``job_id`` is one of ours, from a row."""
        return self._root / job_id

    def create(self, job_id: str, body: bytes | None) -> None:
        """A folder with the request's body, on disk when this returns."""
        folder = self.of(job_id)
        folder.mkdir()
        if body is not None:
            write_whole(folder / BODY, body)
        _sync_folder(self._root)

    def remove(self, job_id: str) -> None:
        """Remove a folder, if it is there."""
        shutil.rmtree(self.of(job_id), ignore_errors=True)

    def sweep(self, known: AbstractSet[str]) -> None:
        """Remove the folders whose job is gone."""
        for folder in self._root.iterdir():
            if folder.name not in known and time.time() - folder.stat().st_mtime > ORPHAN_S:
                shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below; links are not followed."""
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
