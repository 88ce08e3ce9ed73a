"""Model folders and runs of checkpoints that survive ``kill -9``.

A folder holds ``config.json``, safetensors files, and a ``manifest.json`` with the size and sha256 of every other
file. It is written under a temporary name, flushed, renamed; only then does the run's ``LATEST`` move, and only
then are old ones pruned. No pickle is read or written. Torch is imported only where tensors are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
CONFIG = "config.json"
LATEST = "LATEST"


class CheckpointError(ValueError):
    """A folder is not a whole checkpoint; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and sha256 of one file, as the manifest promises."""

    size: int
    sha256: str


def save_folder(
    path: Path,
    config: Mapping[str, Any],  # JSON
    tensors: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a folder whole or not at all; an existing one is replaced.

    Args:
        path: the folder.
        config: becomes ``config.json``.
        tensors: file name without ``.safetensors`` (may contain a folder) -> tensors by name.
        texts: file name -> content.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, values in tensors.items():
        file = temporary / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: _plain(value) for key, value in values.items()}, file)
    for name, text in {**(texts or {}), CONFIG: json.dumps(config, indent=1, sort_keys=True) + "\n"}.items():
        file = temporary / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    files = sorted(file for file in temporary.rglob("*") if file.is_file())
    manifest = {
        str(file.relative_to(temporary)): {"size": file.stat().st_size, "sha256": sha256_of(file)}
        for file in files
    }
    (temporary / MANIFEST).write_text(json.dumps({"files": manifest}, indent=1, sort_keys=True) + "\n")
    readers = (temporary / MANIFEST).stat().st_mode  # safetensors gives its files to the owner alone
    for file in (*files, temporary / MANIFEST):
        file.chmod(readers)
        flush(file)
    for folder in {file.parent for file in files} | {temporary}:
        flush(folder)
    _replace(temporary, path)


def replace_config(path: Path, config: Mapping[str, Any]) -> None:  # JSON
    """Give a folder another ``config.json``, whole or not at all; its other files stay as they are."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(path, temporary, copy_function=os.link)
    for name in (CONFIG, MANIFEST):  # unlink: the old folder shares these files until it is gone
        (temporary / name).unlink()
    text = json.dumps(config, indent=1, sort_keys=True) + "\n"
    (temporary / CONFIG).write_text(text)
    entry = {"size": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    old = {name: {"size": item.size, "sha256": item.sha256} for name, item in read_manifest(path).items()}
    manifest = json.dumps({"files": old | {CONFIG: entry}}, indent=1, sort_keys=True) + "\n"
    (temporary / MANIFEST).write_text(manifest)
    for name in (CONFIG, MANIFEST):
        flush(temporary / name)
    _replace(temporary, path)


def verify(path: Path) -> dict[str, FileEntry]:
    """Check every file of a folder against its manifest and return the manifest.

    Raises:
        CheckpointError: naming the first file that is missing, cut short, or altered.
    """
    entries = read_manifest(path)
    for name, entry in entries.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if file.stat().st_size != entry.size:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes, its manifest says {entry.size}")
        if sha256_of(file) != entry.sha256:
            raise CheckpointError(f"{file} was altered: its sha256 is not the manifest's")
    return entries


def read_manifest(path: Path) -> dict[str, FileEntry]:
    """The manifest alone, unchecked.

    Raises:
        CheckpointError: if there is none, or it cannot be read.
    """
    try:
        data = json.loads((path / MANIFEST).read_text())
        return {
            str(name): FileEntry(int(item["size"]), str(item["sha256"]))
            for name, item in data["files"].items()
        }
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not a checkpoint: it has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / MANIFEST} cannot be read: {error}") from None


def read_config(path: Path) -> dict[str, Any]:
    """``config.json`` of a folder.

    Raises:
        CheckpointError: if it is missing or no JSON object.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not a model folder: it has no {CONFIG}") from None
    except ValueError as error:
        raise CheckpointError(f"{path / CONFIG} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path / CONFIG} must hold a JSON object")
    return config


def weights_path(path: Path) -> Path:
    """The file that inference reads: the average where there is one, else the weights."""
    for name in ("ema.safetensors", "model.safetensors"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path} holds neither ema.safetensors nor model.safetensors")


def weights_sha256(path: Path) -> str:
    """sha256 of the file that inference reads, from the manifest."""
    name = weights_path(path).name
    entries = read_manifest(path)
    if name not in entries:
        raise CheckpointError(f"{path / MANIFEST} does not list {name}")
    return entries[name].sha256


def resolve(path: Path) -> Path:
    """A model folder: ``path`` itself, or the latest checkpoint of the run in it.

    Raises:
        CheckpointError: if it is neither.
    """
    if (path / CONFIG).is_file():
        return path
    if (path / LATEST).is_file():
        latest = RunFolder(path).latest()
        if latest is not None:
            return latest
    raise CheckpointError(
        f"{path} is neither a model folder ({CONFIG}) nor a run with a checkpoint ({LATEST})"
    )


def load_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, on the CPU."""
    from safetensors.torch import load_file

    return dict(load_file(file))


class RunFolder:
    """The checkpoints of one training run, ``checkpoints/<position>``, and ``LATEST``.

    Args:
        path: the run's folder.
        keep: how many checkpoints stay.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = path
        self.keep = max(1, keep)

    def save(
        self,
        position: int,
        config: Mapping[str, Any],  # JSON
        tensors: Mapping[str, Mapping[str, Tensor]],
        texts: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the checkpoint of a position (images seen), move ``LATEST``, prune; returns its folder."""
        folder = self.path / "checkpoints" / f"{position:012d}"
        save_folder(folder, config, tensors, texts)
        pointer = self.path / f".{LATEST}.tmp"
        pointer.write_text(f"{folder.name}\n")
        flush(pointer)
        os.replace(pointer, self.path / LATEST)
        flush(self.path)
        self._prune()
        return folder

    def latest(self) -> Path | None:
        """The newest checkpoint that verifies; damaged ones are named in a warning and passed over.

        The one that LATEST names comes first: whatever is newer than it was never announced as whole.
        """
        folders = sorted((self.path / "checkpoints").glob("[0-9]*"), reverse=True)
        pointer = self.path / LATEST
        if pointer.is_file():
            named = pointer.read_text().strip()
            folders.sort(key=lambda folder: (folder.name == named, folder.name), reverse=True)
        for folder in folders:
            try:
                verify(folder)
            except CheckpointError as error:
                logger.warning("checkpoint passed over: %s", error)
                continue
            return folder
        return None

    def _prune(self) -> None:
        folders = sorted((self.path / "checkpoints").glob("[0-9]*"))
        for folder in folders[: -self.keep]:
            shutil.rmtree(folder)
        for leftover in (self.path / "checkpoints").glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)


def sha256_of(file: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(value: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares no memory, as safetensors demands."""
    return value.detach().to("cpu", copy=True).contiguous()


def flush(path: Path) -> None:
    """Write what a file, or the list of names in a folder, holds through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over an existing folder: the old one steps aside first and is removed last."""
    if not path.exists():
        os.rename(temporary, path)
    else:
        aside = path.with_name(f".{path.name}.{os.getpid()}.old")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(path, aside)
        os.rename(temporary, path)
        shutil.rmtree(aside)
    flush(path.parent)
