"""Where the pictures, or the videos, of one tar shard lie: one pass over its headers, kept in a small file beside it.

Conventions are those of the WebDataset format: members of one sample share a key, which is their path up to the
first dot of its last component; what follows is the extension. A member whose extension is a picture's is the
sample's picture, ``.cls`` (a whole number) or the ``"label"`` of ``.json`` its class.

Source: Aizman, Maltby and Breuel, "High Performance I/O For Large Scale Deep Learning", 2019, arXiv 2001.01858,
section IV; the WebDataset format, https://github.com/webdataset/webdataset (README, "The WebDataset Format").
"""

import json
import logging
import os
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizer.data.kind import PICTURES, Kind

logger = logging.getLogger(__name__)

FORMAT = 1
BLOCK = 512
MAX_SIDE_BYTES = 2**20  # of a .cls or .json
MAX_LABEL = 10**6
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
Label = int | str | None


@dataclass(frozen=True, slots=True)
class TarIndex:
    """The pictures of one shard, in the order in which they lie: five columns of equal length and what they hold for.

    Attributes:
        num_bytes, mtime_ns: of the shard when it was indexed.
        names: the pictures' members.
        offsets, sizes: of their bytes in the shard.
        labels: class number or name; None where the sample does not say.
    """

    num_bytes: int
    mtime_ns: int
    names: list[str]
    offsets: list[int]
    sizes: list[int]
    labels: list[Label]


@dataclass(slots=True)
class _Sample:
    picture: tarfile.TarInfo | None = None
    plain: bool = False  # the extension is nothing but the picture's suffix
    label: Label = None
    from_cls: bool = False


def index_path(shard: Path, kind: Kind = PICTURES) -> Path:
    """Where the index of a shard is kept: beside it."""
    return shard.with_name(f"{shard.name}.{kind.index}")


def load_index(shard: Path, kind: Kind = PICTURES) -> TarIndex:
    """The index of a shard, from beside it if that still holds; otherwise made, and kept there if that can be.

    Raises:
        ValueError: naming the shard, and the member where one is at fault.
    """
    try:
        state = shard.stat()
    except OSError as error:
        raise ValueError(f"{shard} cannot be read: {error}") from error
    kept = _read(index_path(shard, kind))
    if kept is not None and (kept.num_bytes, kept.mtime_ns) == (state.st_size, state.st_mtime_ns):
        return kept
    index = build_index(shard, kind)
    _write(index_path(shard, kind), index)
    return index


def build_index(shard: Path, kind: Kind = PICTURES) -> TarIndex:
    """One pass over the headers of a shard; only ``.cls`` and ``.json`` members are read.

    Raises:
        ValueError: if the shard is compressed, cut short, damaged or without pictures, or a sample is ambiguous.
    """
    try:
        with shard.open("rb") as file:
            state = os.fstat(file.fileno())
            if file.read(6).startswith(COMPRESSED):
                raise ValueError(compressed(shard))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                samples = _samples(shard, tar, file.fileno(), kind)
                _check_end(shard, file.fileno(), tar.offset)
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{shard} cannot be read as a tar archive, it may be cut short: {error}") from error
    found = [(sample.picture, sample.label) for sample in samples.values() if sample.picture is not None]
    if not found:
        raise ValueError(f"{shard} holds no {kind}")
    found.sort(key=lambda item: item[0].offset_data)
    return TarIndex(
        num_bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        names=[picture.name for picture, _ in found],
        offsets=[picture.offset_data for picture, _ in found],
        sizes=[picture.size for picture, _ in found],
        labels=[label for _, label in found],
    )


def compressed(shard: Path) -> str:
    """The sentence for a compressed shard."""
    return (
        f"{shard} is compressed: its files are read by their offset, which a compressed archive does not allow; "
        "unpack it to a .tar first (pictures are compressed already, it grows little)"
    )


def _samples(shard: Path, tar: tarfile.TarFile, descriptor: int, kind: Kind) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    seen: set[str] = set()
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # untyped; it keeps every header for look-ups
        head, slash, last = member.name.rpartition("/")
        stem, dot, extension = last.partition(".")
        if not member.isreg() or not stem or not dot:
            continue
        if member.name in seen:
            raise ValueError(f"{shard} holds {member.name} twice: keys must be unique within a shard")
        seen.add(member.name)
        if member.issparse():
            raise ValueError(f"{shard}: {member.name} is a sparse file: pack the shard without --sparse")
        sample = samples.setdefault(f"{head}{slash}{stem}", _Sample())
        _add(shard, sample, member, extension.lower(), descriptor, kind)
    return samples


def _add(
    shard: Path, sample: _Sample, member: tarfile.TarInfo, extension: str, descriptor: int, kind: Kind
) -> None:
    """Note what one member says about its sample."""
    if f".{extension.rpartition('.')[2]}" in kind.suffixes:
        plain = "." not in extension  # 7.jpg, rather than 7.thumbnail.jpg
        if sample.picture is not None and plain == sample.plain:
            raise ValueError(
                f"{shard} holds two {kind.plural} of one key, {sample.picture.name} and {member.name}: "
                "a sample has one of them; give each its own key (the name up to its first dot)"
            )
        if sample.picture is None or plain:
            sample.picture, sample.plain = member, plain
    elif extension == "cls":
        sample.label, sample.from_cls = _class_number(shard, member, descriptor), True
    elif extension == "json" and not sample.from_cls:
        sample.label = _json_label(shard, member, descriptor)


def _class_number(shard: Path, member: tarfile.TarInfo, descriptor: int) -> int:
    text = _content(shard, member, descriptor).decode("utf-8", "replace").strip()
    if not (text.isascii() and text.isdecimal() and int(text) < MAX_LABEL):
        raise ValueError(
            f"{shard}: {member.name} must hold a class number, 0 to {MAX_LABEL - 1}, not {text[:32]!r}"
        )
    return int(text)


def _json_label(shard: Path, member: tarfile.TarInfo, descriptor: int) -> Label:
    try:
        content = json.loads(_content(shard, member, descriptor))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shard}: {member.name} is not JSON: {error}") from error
    label = content.get("label") if isinstance(content, dict) else None
    number = isinstance(label, int) and not isinstance(label, bool)
    if label is None or isinstance(label, str) or (number and 0 <= label < MAX_LABEL):
        return label
    raise ValueError(
        f"{shard}: the label of {member.name} must be a class name or a number, 0 to {MAX_LABEL - 1}, "
        f"not {str(label)[:32]}"
    )


def _content(shard: Path, member: tarfile.TarInfo, descriptor: int) -> bytes:
    if member.size > MAX_SIDE_BYTES:
        raise ValueError(f"{shard}: {member.name} is {member.size} bytes long, too much for a label")
    return os.pread(descriptor, member.size, member.offset_data)


def _check_end(shard: Path, descriptor: int, offset: int) -> None:
    """tarfile takes a damaged header, or a file that just stops, for the end; samples would be lost silently."""
    block = os.pread(descriptor, BLOCK, offset)
    if len(block) < BLOCK:
        raise ValueError(f"{shard} has no end mark: it is cut short, after {offset} bytes of whole members")
    while block:
        if block.strip(b"\0"):
            raise ValueError(
                f"{shard} goes on behind its end, or is damaged, near byte {offset}: copy it again, and join "
                "archives with tar --concatenate rather than cat"
            )
        offset += len(block)
        block = os.pread(descriptor, 2**20, offset)


def _read(path: Path) -> TarIndex | None:
    """None where there is none, or it is none of this format; it is made anew then."""
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            return None
        index = TarIndex(**content)
        lengths = {len(index.names), len(index.offsets), len(index.sizes), len(index.labels)}
        return index if len(lengths) == 1 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, index: TarIndex) -> None:
    """Whole or not at all; several processes may write the same at once. A place that is read-only is no fault."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_text(json.dumps({"format": FORMAT} | asdict(index), separators=(",", ":")))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        logger.info("the index of %s is kept in memory only: %s", path.stem, error)
