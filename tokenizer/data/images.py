"""Folders of pictures as data sets, and the order in which training walks them.

A training position p (images counted from the start of a run) names its epoch, its picture and its augmentation
by itself: nothing depends on the number of processes or workers, or on where a run was interrupted.
"""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tokenizer.core import seeding
from tokenizer.data.transforms import adm_crop, as_bytes, random_crop

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000


class Sample(TypedDict):
    """One picture, or a batch of them: data (B, R, R, 3) uint8, label, index and key (B,) int64."""

    data: Tensor
    label: Tensor
    index: Tensor
    key: Tensor


def list_images(path: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths.

    Raises:
        ValueError: if the folder does not exist or holds no picture.
    """
    if not path.is_dir():
        raise ValueError(f"data.path={path} is not a folder")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"data.path={path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return files


def read_image(file: Path) -> Image.Image:
    """Decode a picture: RGB, orientation applied, transparency on white.

    Raises:
        ValueError: naming the file, if it is no picture, cut short, or larger than 200 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels are too many")
                image.load()
                return flatten(ImageOps.exif_transpose(image))
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def flatten(image: Image.Image) -> Image.Image:
    """RGB, with transparency laid on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


class ImageFolder(Dataset[Sample]):
    """Pictures below a folder; the label is the number of the first folder level, in alphabetical order.

    Item i is the evaluation crop of picture i, for training see ``TrainingOrder``.

    Args:
        path: the folder.
        resolution: side of the square crop in pixels.
    """

    def __init__(self, path: Path, resolution: int) -> None:
        self.files = list_images(path)
        self.resolution = resolution
        folders = [
            file.relative_to(path).parts[0] if len(file.relative_to(path).parts) > 1 else ""
            for file in self.files
        ]
        self.class_names = sorted(set(folders))
        self.labels = [self.class_names.index(folder) for folder in folders]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        data = as_bytes(adm_crop(read_image(self.files[index]), self.resolution))
        return _sample(data, self.labels[index], index, index)


class TrainingOrder(Dataset[Sample]):
    """An ``ImageFolder`` seen as an endless sequence: item p is what training position p sees.

    A picture that cannot be read is named in the log and replaced by the next one that can, the same each time.

    Args:
        folder: the pictures.
        seed: names the order and the augmentations.
        max_scale: the short side is at most this many times the crop.
        flip: mirror half of the pictures.
    """

    def __init__(self, folder: ImageFolder, seed: int, max_scale: float = 1.25, flip: bool = True) -> None:
        self.folder = folder
        self.seed = seed
        self.max_scale = max_scale
        self.flip = flip
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, position: int) -> Sample:
        epoch, place = divmod(position, len(self.folder))
        index = self.permutation(epoch)[place]
        key = seeding.key(self.seed, "sample", epoch, index)
        for step in range(len(self.folder)):
            chosen = (index + step) % len(self.folder)
            try:
                image = read_image(self.folder.files[chosen])
            except ValueError as error:
                logger.warning("picture replaced by the next one: %s", error)
                continue
            image = random_crop(
                image,
                self.folder.resolution,
                generator=seeding.generator(key, "crop"),
                max_scale=self.max_scale,
                flip=self.flip,
            )
            return _sample(as_bytes(image), self.folder.labels[chosen], chosen, key)
        raise ValueError("none of the pictures can be read")

    def permutation(self, epoch: int) -> list[int]:
        """The order of the pictures in an epoch."""
        if self._order[0] != epoch:
            order = torch.randperm(len(self.folder), generator=seeding.generator(self.seed, "order", epoch))
            self._order = (epoch, order.tolist())
        return self._order[1]


class Positions:
    """Batches of training positions for one of several processes (a ``batch_sampler``).

    Each global batch is cut into ``num_processes * accumulate`` equal micro-batches in order, so that all processes
    together see exactly what one process would.

    Raises:
        ValueError: if the batch cannot be cut evenly.
    """

    def __init__(
        self,
        start: int,
        stop: int,
        batch: int,
        *,
        accumulate: int = 1,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        if batch % (accumulate * num_processes):
            raise ValueError(
                f"a batch of {batch} cannot be cut into {num_processes} processes times {accumulate} micro-batches"
            )
        self.start, self.stop, self.batch = start, stop, batch
        self.accumulate, self.process, self.num_processes = accumulate, process, num_processes

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.batch) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        micro = self.batch // (self.accumulate * self.num_processes)
        for first in range(self.start, self.stop, self.batch):
            for turn in range(self.accumulate):
                begin = first + (turn * self.num_processes + self.process) * micro
                yield list(range(begin, begin + micro))


def loader(data: Dataset[Sample], positions: Positions, num_workers: int) -> DataLoader[Sample]:
    """Batches in the order of ``positions``, decoded in ``num_workers`` processes (0: in this one)."""
    return DataLoader(
        data,
        batch_sampler=positions,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        prefetch_factor=4 if num_workers else None,
    )


def _sample(data: Tensor, label: int, index: int, key: int) -> Sample:
    return Sample(
        data=data,
        label=torch.tensor(label),
        index=torch.tensor(index),
        key=torch.tensor(key, dtype=torch.int64),
    )
