"""Where pictures and videos come from: a folder of files, or tar shards. Everything that reads them takes either."""

import glob
import hashlib
import logging
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from PIL import Image

from tokenizer.data.folder import Folder, find_images
from tokenizer.data.kind import PICTURES, VIDEOS, Kind
from tokenizer.data.picture import Picture, read_image
from tokenizer.data.shards import Shards
from tokenizer.data.tar_index import compressed

logger = logging.getLogger(__name__)

SHARD = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
BRACES = re.compile(r"\{([^{}]*)\}")
MAX_EXPANDED = 100_000


class Source(Protocol):
    """Pictures in a fixed order, with classes; safe to read from many threads and processes.

    Attributes:
        class_names: the classes by number.
    """

    class_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Picture: ...

    def label(self, index: int) -> int:
        """Class of a picture, a place in ``class_names``."""
        ...


def read_or_next(source: Source, index: int) -> tuple[int, Image.Image]:
    """A picture decoded, or the first behind it that can be, and its number; those that cannot are named in the log.

    Raises:
        ValueError: if none can.
    """
    for step in range(len(source)):
        chosen = (index + step) % len(source)
        try:
            return chosen, read_image(source[chosen])
        except ValueError as error:
            logger.warning("picture replaced by the next one: %s", error)
    raise ValueError("none of the pictures can be read")


def fingerprint(pictures: Iterable[Picture]) -> str:
    """sha256 over the pictures' names and sizes in bytes, in order: another set has another. Reads no picture."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name}\0{picture.num_bytes}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def kind_of(path: Path) -> Kind:
    """Whether ``data.path`` names pictures or videos; pictures where it names neither, as ``open_source`` will tell.

    Raises:
        ValueError: if a folder holds both.
    """
    if path.is_dir() and not any(path.glob(f"*{SHARD}")):
        picture, video = (next(find_images(path, kind), None) for kind in (PICTURES, VIDEOS))
        if picture is not None and video is not None:
            raise ValueError(
                f"data.path={path} holds pictures ({picture.relative_to(path)}) and videos "
                f"({video.relative_to(path)}): keep them in folders apart and name that of the videos in data.videos"
            )
        return PICTURES if video is None else VIDEOS
    if path.is_dir():
        shards = sorted(path.glob(f"*{SHARD}"))
    else:
        pattern = glob.has_magic(str(path)) or BRACES.search(str(path))
        shards = [path] if path.is_file() or not pattern else expand(str(path))
    try:
        with tarfile.open(shards[0], "r:") as tar:
            suffixes = (Path(member.name).suffix.lower() for member in tar if member.isreg())
            kinds = (kind for suffix in suffixes for kind in (PICTURES, VIDEOS) if suffix in kind.suffixes)
            return next(kinds, PICTURES)
    except (OSError, tarfile.TarError):
        return PICTURES


def open_source(path: Path, kind: Kind = PICTURES) -> Source:
    """Open what ``data.path`` names: a folder of pictures, a .tar shard, a folder of shards, or a pattern of shards.

    Patterns are those of the shell, ``*``, ``?``, ``[...]``, and braces, ``shard-{0000..0009}.tar`` or
    ``{a,b}.tar``; what exists under its literal name is taken literally. Shards come in the order of their names,
    with braces in the order written. With ``kind`` the same of videos.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if path.is_dir():
        return _open_folder(path, kind)
    if path.is_file():
        return Shards([_shard(path)], kind)
    if not glob.has_magic(str(path)) and not BRACES.search(str(path)):
        raise ValueError(f"data.path={path} is not a folder, a .tar file or a pattern of .tar files")
    return Shards([_shard(file) for file in expand(str(path))], kind)


def expand(pattern: str) -> list[Path]:
    """The files that a pattern names.

    Raises:
        ValueError: if a name between braces is missing, or nothing matches.
    """
    files: list[Path] = []
    for name in expand_braces(pattern):
        found = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]
        if not found or not Path(found[0]).is_file():
            raise ValueError(f"data.path={pattern}: there is no {name}")
        files += [Path(file) for file in found]
    if len(set(files)) != len(files):
        raise ValueError(f"data.path={pattern} names a shard twice")
    return files


def expand_braces(pattern: str) -> list[str]:
    """``a-{08..11}.tar`` -> a-08.tar, a-09.tar, a-10.tar, a-11.tar; ``{a,b}`` -> a, b; as a shell does.

    Raises:
        ValueError: if braces hold neither, or stand for more than 100 000 names.
    """
    found = BRACES.search(pattern)
    if found is None:
        return [pattern]
    inside = found[1]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if span is not None:
        first, last = int(span[1]), int(span[2])
        if last - first >= MAX_EXPANDED:
            raise ValueError(f"data.path={pattern}: {{{inside}}} stands for more than {MAX_EXPANDED} names")
        width = max(len(span[1]), len(span[2])) if inside.startswith("0") else 0
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    elif "," in inside:
        choices = inside.split(",")
    else:
        choices = []
    if not choices:
        raise ValueError(f"data.path={pattern}: braces hold {{0000..0009}} or {{a,b}}, not {{{inside}}}")
    before, after = pattern[: found.start()], pattern[found.end() :]
    names = [before + choice + rest for choice in choices for rest in expand_braces(after)]
    if len(names) > MAX_EXPANDED:
        raise ValueError(f"data.path={pattern} stands for more than {MAX_EXPANDED} names")
    return names


def _open_folder(path: Path, kind: Kind) -> Source:
    shards = sorted(path.glob(f"*{SHARD}"))
    if not shards:
        for file in sorted(path.iterdir()):
            if file.name.lower().endswith(COMPRESSED) and next(find_images(path, kind), None) is None:
                raise ValueError(compressed(file))
        return Folder(path, kind)
    picture = next(find_images(path, kind), None)
    if picture is not None:
        raise ValueError(
            f"data.path={path} holds .tar shards ({shards[0].name}) and {kind.plural} ({picture.relative_to(path)}): "
            f"data.path={path}/*.tar takes the shards; for the {kind.plural}, name their folder or move the shards away"
        )
    return Shards([_shard(file) for file in shards], kind)


def _shard(file: Path) -> Path:
    if file.name.lower().endswith(COMPRESSED):
        raise ValueError(compressed(file))
    if file.suffix.lower() != SHARD:
        raise ValueError(f"data.path={file} is not a folder or a .tar file")
    return file
