"""Folders below which models may be added while the server runs, and what a path in a request may name there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from service.errors import InvalidParameter, ModelRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PATH_CHARACTERS = 512
MAX_FILES = 4096


def parse_folders(text: str) -> tuple[Path, ...]:
    """``"/a,/b"`` -> the folders.

    Raises:
        ValueError: naming one that is not there.
    """
    folders = tuple(Path(item.strip()) for item in text.split(",") if item.strip())
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"TESSERA_MODEL_FOLDERS: {folder} is no folder: name folders that are there")
    return folders


def find_below(folders: Sequence[Path], relative: str) -> Path:
    """The folder that ``relative`` names below one of ``folders``, every file of it below one of them too.

    Raises:
        ModelRefused: no folders are allowed.
        InvalidParameter: not a plain relative path, no such folder, or a link in it leads outside.
    """
    if not folders:
        raise ModelRefused(
            "this server adds no models while it runs: start it with TESSERA_MODEL_FOLDERS=folder,folder",
            param="path",
        )
    parts = PurePosixPath(relative).parts
    plain = bool(parts) and not any(part in ("/", "..", "//") or part.startswith("~") for part in parts)
    if not plain or len(relative) > MAX_PATH_CHARACTERS or not relative.isprintable() or "\\" in relative:
        raise InvalidParameter(
            "path must be plain and relative to a folder of TESSERA_MODEL_FOLDERS, for example dit/xl",
            param="path",
        )
    roots = [folder.resolve() for folder in folders]
    try:
        for root in roots:
            candidate = root.joinpath(*parts)
            if candidate.is_dir():
                _refuse_links(candidate, roots)
                return candidate
    except (OSError, RuntimeError):  # a name too long for the disk, or links in a circle
        pass
    raise InvalidParameter(f"no folder {relative[:128]!r} below TESSERA_MODEL_FOLDERS", param="path")


def _refuse_links(folder: Path, roots: Sequence[Path]) -> None:
    """InvalidParameter if the folder, or anything in it, is really somewhere else, or is no plain file."""
    paths = [folder]
    for path in folder.rglob("*"):
        paths.append(path)
        if len(paths) > MAX_FILES:
            raise InvalidParameter(
                f"the folder holds more than {MAX_FILES} files: name the model's own", param="path"
            )
    for path in paths:
        real = path.resolve()
        inside = any(real.is_relative_to(root) for root in roots)
        followed = path.is_symlink() and real.is_dir() and path != folder  # what is in it was not looked at
        if not inside or followed or not (real.is_dir() or real.is_file()):
            raise InvalidParameter(
                f"{path.relative_to(folder).as_posix()[:128]!r} leads elsewhere or is no plain file: models are loaded "
                "from inside TESSERA_MODEL_FOLDERS only",
                param="path",
            )
