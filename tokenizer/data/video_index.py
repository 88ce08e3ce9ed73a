"""Which videos of a source can be used, and what their headers say: probed once, kept in a small file beside them."""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tokenizer.data.folder import Folder
from tokenizer.data.kind import VIDEOS
from tokenizer.data.picture import Picture
from tokenizer.data.shards import Shards
from tokenizer.data.source import Source, open_source
from tokenizer.data.video_header import VideoHeader, VideoRefused, probe

logger = logging.getLogger(__name__)

FORMAT = 1
INDEX = ".videos.index"
THREADS = 4
Row = list[object]  # JSON: bytes and time of the file, and its header or why it has none


@dataclass(frozen=True, slots=True)
class IndexedVideo:
    """A video that can be used.

    Attributes:
        file: where it lies.
        header: what it says of itself.
        label: its class.
    """

    file: Picture
    header: VideoHeader
    label: int


class VideoIndex:
    """The videos of a folder or of tar shards; those that cannot be used are named in the log and left out.

    Attributes:
        class_names: the classes by number.
        videos: in the order of the source.

    Args:
        path: what ``open_source`` takes.

    Raises:
        ValueError: if the path is wrong, or none of the videos can be used.
    """

    def __init__(self, path: Path) -> None:
        source = open_source(path, VIDEOS)
        self.class_names = source.class_names
        file = _index_file(source)
        known = _read(file)
        numbers = range(len(source))
        fresh = [number for number in numbers if not _holds(known.get(source[number].name), source[number])]
        with ThreadPoolExecutor(THREADS) as threads:
            rows = threads.map(lambda number: _row(source[number]), fresh)
            known |= {source[number].name: row for number, row in zip(fresh, rows, strict=True)}
        if fresh:
            _write(file, known)
        self.videos: list[IndexedVideo] = []
        for number in numbers:
            row = known[source[number].name]
            if isinstance(row[2], str):
                logger.warning("video left out: %s cannot be read: %s", source[number], row[2])
                continue
            self.videos.append(IndexedVideo(source[number], _header(row[2]), source.label(number)))
        if not self.videos:
            raise ValueError(
                f"data.path={path}: none of its {len(source)} videos can be read; the log says why"
            )


def _index_file(source: Source) -> Path:
    """Beside the first shard, or in the folder."""
    if isinstance(source, Shards):
        return source.shards[0].path.parent / INDEX
    assert isinstance(source, Folder)  # there is nothing else
    return source.path / INDEX


def _row(file: Picture) -> Row:
    try:
        state = [file.num_bytes, file.mtime_ns]
        with file.open() as opened:
            header = probe(opened)
    except (VideoRefused, OSError) as error:
        return [*([0, 0] if isinstance(error, OSError) else state), str(error)]
    told = [
        header.container,
        header.codec,
        header.size,
        header.coded,
        header.turns,
        header.frames,
        str(header.rate),
        header.variable,
        header.seconds,
        str(header.pixel_aspect),
    ]
    return [*state, told]


def _header(told: object) -> VideoHeader:
    assert isinstance(told, list)  # as _row made it and _read checked it
    container, codec, size, coded, turns, frames, rate, variable, seconds, aspect = told
    return VideoHeader(
        container=container,
        codec=codec,
        size=(size[0], size[1]),
        coded=(coded[0], coded[1]),
        turns=turns,
        frames=frames,
        rate=Fraction(rate),
        variable=variable,
        seconds=seconds,
        pixel_aspect=Fraction(aspect),
    )


def _holds(row: Row | None, file: Picture) -> bool:
    try:
        return row is not None and row[:2] == [file.num_bytes, file.mtime_ns]
    except OSError:
        return False


def _read(path: Path) -> dict[str, Row]:
    """Empty where there is none, or it is none of this format; it is made anew then."""
    try:
        content = json.loads(path.read_bytes())
        rows: dict[str, Row] = content["videos"]
        if content["format"] != FORMAT:
            return {}
        for row in rows.values():
            if not isinstance(row[2], str):
                _header(row[2])
        return rows
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError):
        return {}


def _write(path: Path, rows: dict[str, Row]) -> None:
    """Whole or not at all; several processes may write the same at once. A place that is read-only is no fault."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_text(json.dumps({"format": FORMAT, "videos": rows}, separators=(",", ":")))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        logger.info("the index of videos is kept in memory only: %s", error)
