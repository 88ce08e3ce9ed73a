"""Pictures for evaluation: all of a folder or of tar shards, in order, cropped by the protocol, never replaced.

Letters: B pictures, R resolution.
"""

import io
from collections import deque
from collections.abc import Iterator, Sequence
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
from tokenizer.data.source import open_source

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
        files: where each came from.
        data: (B, 3, R, R) uint8, or float in [-1, 1] where the protocol's crop never rounds.
    """

    files: tuple[Picture, ...]
    data: Tensor


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
        files: list[Picture] = []
        crops: list[Tensor] = []
        for file, crop in self._read_ahead(protocol, num_workers, ahead=2 * batch_size):
            files.append(file)
            crops.append(crop)
            if len(files) == batch_size:
                yield CropBatch(tuple(files), torch.stack(crops))
                files, crops = [], []
        if files:
            yield CropBatch(tuple(files), torch.stack(crops))

    def _read_ahead(
        self, protocol: EvaluationProtocol, num_workers: int, ahead: int
    ) -> Iterator[tuple[Picture, Tensor]]:
        with ThreadPoolExecutor(num_workers) as pool:
            waiting: deque[tuple[Picture, Future[tuple[Tensor, bool]]]] = deque()
            try:
                for file in self.files:
                    waiting.append((file, pool.submit(read_crop, file, self.resolution, protocol.crop)))
                    if len(waiting) > ahead:
                        yield from self._take(protocol, *waiting.popleft())
                while waiting:
                    yield from self._take(protocol, *waiting.popleft())
            finally:
                for _, future in waiting:
                    future.cancel()

    def _take(
        self, protocol: EvaluationProtocol, file: Picture, future: "Future[tuple[Tensor, bool]]"
    ) -> Iterator[tuple[Picture, Tensor]]:
        try:
            crop, upsampled = future.result()
        except CorruptPictureError as error:
            if protocol.on_corrupt == "fail":
                raise
            self.skipped.append(str(error))
            return
        self.num_upsampled += upsampled
        yield file, crop


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
