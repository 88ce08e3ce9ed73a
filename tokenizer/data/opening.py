"""What a run sees, by position: pictures, or clips of some frames, from whatever ``data.path`` names."""

from collections.abc import Sized
from pathlib import Path
from typing import Protocol

import torch
from torch.utils.data import Dataset

from tokenizer.data.images import Images, Sample, TrainingOrder
from tokenizer.data.settings import DataConfig


class SizedData(Sized, Protocol):
    """Samples that are counted."""

    def __getitem__(self, index: int) -> Sample: ...


class Stills(Dataset[Sample]):
    """Pictures as clips of one frame."""

    def __init__(self, pictures: SizedData) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        sample = self.pictures[index]
        return Sample({**sample, "data": torch.unsqueeze(sample["data"], 0)})


def open_training(data: DataConfig, resolution: int, frames: int | None, seed: int) -> TrainingOrder | Stills:
    """Samples by training position: pictures (R, R, 3), or with ``frames`` clips (T, R, R, 3)."""
    order = TrainingOrder(Images(data.path, resolution), seed, data.max_scale, data.flip)
    return order if frames is None else Stills(order)


def open_evaluation(path: Path, resolution: int, frames: int | None) -> Images | Stills:
    """The evaluation crops of all pictures, or with ``frames`` clips, in their order."""
    images = Images(path, resolution)
    return images if frames is None else Stills(images)
