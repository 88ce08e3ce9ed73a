"""Pictures for evaluation: all of a folder or of tar shards, in order, cropped by the protocol, never replaced.

Letters: B pictures, R resolution.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from eval.crops import cropped
from eval.errors import CorruptPictureError, EvaluationError
from eval.protocols import Crop, EvaluationProtocol
from tokenizer.core.config import Config
from tokenizer.data.picture import Picture, read_image
from tokenizer.data.source import fingerprint, open_source

T = TypeVar("T")


class DataConfig(Config):
    """Which pictures."""

    path: Path = Field(description="folder of pictures, with or without classes; or .tar shards")
    resolution: int | None = Field(
        default=None, description="side of the crop; without it, the short side if all pictures share one"
    )
    max_images: int | None = Field(default=None, ge=1, description="take this many, evenly spaced in order")
    on_corrupt: Literal["fail", "skip"] = Field(
        default="fail", description="skip names and counts them, under another protocol hash"
    )
    num_workers: int = Field(default=2, ge=1, description="threads that decode pictures")


@dataclass(frozen=True, slots=True)
class CropBatch:
    """Crops as they come.

    Attributes:
        keys: numbers of the pictures, their places in ``Pictures.files``.
        files: where each came from.
        data: (B, 3, R, R) uint8, or float in [-1, 1] where the protocol's crop never rounds.
    """

    keys: tuple[int, ...]
    files: tuple[Picture, ...]
    data: Tensor


@dataclass(frozen=True, slots=True)
class _Read:
    """What became of one picture: its crop, or why there is none."""

    key: int
    file: Picture
    crop: Tensor | None
    upsampled: bool = False
    fault: str = ""


@dataclass(slots=True)
class Portion:
    """A run of the pictures, to be read once and in order; what happened to them is known when it was.

    Attributes:
        keys: numbers of its pictures.
        skipped: sentences on those that could not be read.
        num_upsampled: those whose short side is below the resolution.
    """

    keys: range
    _reads: Iterator[_Read]
    _batch_size: int
    skipped: list[str] = field(default_factory=list)
    num_upsampled: int = 0

    def __iter__(self) -> Iterator[CropBatch]:
        waiting: list[_Read] = []
        for _ in self.keys:
            read = next(self._reads)
            if read.crop is None:
                self.skipped.append(read.fault)
                continue
            self.num_upsampled += read.upsampled
            waiting.append(read)
            if len(waiting) == self._batch_size:
                yield _batch(waiting)
                waiting = []
        if waiting:
            yield _batch(waiting)


@dataclass(slots=True)
class Pictures:
    """The pictures of a job and what happened to them while they were read.

    Attributes:
        root: the folder, or the shards.
        files: those to read, in order.
        resolution: side of the crop.
        num_found: pictures there are, before any limit.
        skipped: sentences on files that could not be read.
        num_upsampled: pictures whose short side is below the resolution.
    """

    root: Path
    files: tuple[Picture, ...]
    resolution: int
    num_found: int
    skipped: list[str] = field(default_factory=list)
    num_upsampled: int = 0
    _fingerprint: str = ""

    @classmethod
    def open(cls, config: DataConfig) -> "Pictures":
        """List a folder or shards and settle the resolution.

        Raises:
            EvaluationError: if the pictures are missing or cannot be listed, or the resolution is open.
        """
        try:
            source = open_source(config.path)
        except ValueError as error:
            raise EvaluationError(str(error)) from None
        chosen = [source[index] for index in evenly(range(len(source)), config.max_images or len(source))]
        resolution = config.resolution or shared_side(chosen)
        return cls(config.path, tuple(chosen), resolution, len(source))

    def batches(self, protocol: EvaluationProtocol, batch_size: int, num_workers: int) -> Iterator[CropBatch]:
        """Crops in order, read ahead by threads.

        Raises:
            CorruptPictureError: at the first file that cannot be read, unless the protocol skips such.
        """
        for portion in self.portions(protocol, batch_size, num_workers, [range(len(self.files))]):
            yield from portion
            self.note(portion.skipped, portion.num_upsampled)

    def portions(
        self, protocol: EvaluationProtocol, batch_size: int, num_workers: int, spans: Sequence[range]
    ) -> Iterator[Portion]:
        """Some of the pictures, by their numbers, one run after the other; batches never cross runs.

        A portion must be read to its end before the next one is taken. What was skipped in it is its own: give it
        to ``note`` to count it here.

        Raises:
            CorruptPictureError: as ``batches``, while a portion is read.
        """
        keys = [key for span in spans for key in span]
        reads = self._read_ahead(protocol, keys, num_workers, ahead=2 * batch_size)
        for span in spans:
            yield Portion(span, reads, batch_size)

    def fingerprint(self) -> str:
        """sha256 over names and sizes of the files to read."""
        self._fingerprint = self._fingerprint or fingerprint(self.files)
        return self._fingerprint

    def note(self, skipped: Iterable[str], num_upsampled: int) -> None:
        """Count what happened to pictures that were read."""
        self.skipped += skipped
        self.num_upsampled += num_upsampled

    def _read_ahead(
        self, protocol: EvaluationProtocol, keys: Sequence[int], num_workers: int, ahead: int
    ) -> Iterator[_Read]:
        with ThreadPoolExecutor(num_workers) as pool:
            waiting: deque[tuple[int, Future[tuple[Tensor, bool]]]] = deque()
            try:
                for key in keys:
                    crop = pool.submit(read_crop, self.files[key], self.resolution, protocol.crop)
                    waiting.append((key, crop))
                    if len(waiting) > ahead:
                        yield self._take(protocol, *waiting.popleft())
                while waiting:
                    yield self._take(protocol, *waiting.popleft())
            finally:
                for _, future in waiting:
                    future.cancel()

    def _take(self, protocol: EvaluationProtocol, key: int, future: "Future[tuple[Tensor, bool]]") -> _Read:
        try:
            crop, upsampled = future.result()
        except CorruptPictureError as error:
            if protocol.on_corrupt == "fail":
                raise
            return _Read(key, self.files[key], None, fault=str(error))
        return _Read(key, self.files[key], crop, upsampled)


def _batch(reads: Sequence[_Read]) -> CropBatch:
    crops = [read.crop for read in reads if read.crop is not None]
    return CropBatch(
        tuple(read.key for read in reads), tuple(read.file for read in reads), torch.stack(crops)
    )


def read_crop(file: Picture, resolution: int, rule: Crop = "adm") -> tuple[Tensor, bool]:
    """A picture -> its crop (3, R, R), see ``eval.crops``, and whether it had to be enlarged.

    Raises:
        CorruptPictureError: saying where it lies.
    """
    try:
        image = read_image(file)
    except ValueError as error:
        hint = "remove it, or count it out with data.on_corrupt=skip"
        raise CorruptPictureError(f"{error}; {hint}") from error
    return cropped(image, rule, resolution), min(image.size) < resolution


def evenly(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items, evenly spaced over their order, so that every class keeps its share."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def shared_side(files: Sequence[Picture]) -> int:
    """The short side of the pictures, from their headers.

    Raises:
        EvaluationError: if they differ, with the sides there are.
    """
    sides = []
    for file in files:
        try:
            with Image.open(io.BytesIO(file.read())) as image:
                sides.append(min(image.size))
        except (OSError, ValueError) as error:
            raise CorruptPictureError(f"{file} cannot be read: {error}") from error
    if len(set(sides)) == 1:
        return sides[0]
    raise EvaluationError(
        f"data.resolution is needed: the short sides of the pictures run from {min(sides)} to {max(sides)}. "
        f"data.resolution={min(sides)} enlarges none of them"
    )
