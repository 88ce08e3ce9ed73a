"""Pictures as data sets, and the order in which training walks them.

A training position p (images counted from the start of a run) names its epoch, its picture and its augmentation
by itself: nothing depends on the number of processes or workers, or on where a run was interrupted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tokenizer.core import seeding
from tokenizer.data.picture import read_image
from tokenizer.data.source import open_source, read_or_next
from tokenizer.data.transforms import adm_crop, as_bytes, random_crop


class Sample(TypedDict):
    """One picture or clip, or a batch of them: data (B, *S, 3) uint8, label, index and key (B,) int64."""

    data: Tensor
    label: Tensor
    index: Tensor
    key: Tensor


class Images(Dataset[Sample]):
    """The pictures of a folder or of tar shards, each as its evaluation crop; for training see ``TrainingOrder``.

    Args:
        path: what ``open_source`` takes.
        resolution: side of the square crop in pixels.
    """

    def __init__(self, path: Path, resolution: int) -> None:
        self.source = open_source(path)
        self.resolution = resolution

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index, read_image(self.source[index]))

    def sample(self, index: int, image: Image.Image) -> Sample:
        """The crop of a picture that was read already."""
        return make_sample(as_bytes(adm_crop(image, self.resolution)), self.source.label(index), index, index)


class Epochs:
    """Training positions as epochs, each of which has every sample once, in an order of its own.

    Args:
        count: samples of an epoch.
        seed: names the orders.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def at(self, position: int) -> tuple[int, int]:
        """The sample of a position, and the key of all that is drawn for it."""
        epoch, place = divmod(position, self.count)
        index = int(self.permutation(epoch)[place])
        return index, seeding.key(self.seed, "sample", epoch, index)

    def permutation(self, epoch: int) -> Tensor:
        """The order of the samples in an epoch, (N,) int64."""
        if self._order[0] != epoch:
            generator = seeding.generator(self.seed, "order", epoch)
            self._order = (epoch, torch.randperm(self.count, generator=generator))
        return self._order[1]


class TrainingOrder(Dataset[Sample]):
    """``Images`` seen as an endless sequence: item p is what training position p sees.

    A picture that cannot be read is named in the log and replaced by the next one that can, the same each time.

    Args:
        images: the pictures.
        seed: names the order and the augmentations.
        max_scale: the short side is at most this many times the crop.
        flip: mirror half of the pictures.
    """

    def __init__(self, images: Images, seed: int, max_scale: float = 1.25, flip: bool = True) -> None:
        self.images = images
        self.epochs = Epochs(len(images), seed)
        self.max_scale = max_scale
        self.flip = flip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Sample:
        index, key = self.epochs.at(position)
        chosen, image = read_or_next(self.images.source, index)
        image = random_crop(
            image,
            self.images.resolution,
            generator=seeding.generator(key, "crop"),
            max_scale=self.max_scale,
            flip=self.flip,
        )
        return make_sample(as_bytes(image), self.images.source.label(chosen), chosen, key)

    def permutation(self, epoch: int) -> Tensor:
        """The order of the pictures in an epoch, (N,) int64."""
        return self.epochs.permutation(epoch)


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


def make_sample(data: Tensor, label: int, index: int, key: int) -> Sample:
    """A sample of its pixels, uint8 (*S, 3), and the numbers that go with it."""
    return Sample(
        data=data,
        label=torch.tensor(label),
        index=torch.tensor(index),
        key=torch.tensor(key, dtype=torch.int64),
    )
