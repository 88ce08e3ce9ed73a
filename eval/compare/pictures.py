"""The held-out pictures of a comparison, the same for every row, and the fingerprint of both sets.

Letters: N pictures, R resolution.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eval.compare.settings import CompareConfig
from eval.data import DataConfig, Pictures, evenly
from eval.errors import EvaluationError
from eval.protocols import EvaluationProtocol, protocol
from eval.report import DataRecord
from tokenizer.core.config import Config
from tokenizer.data.source import fingerprint, open_source


class Fingerprint(Config):
    """Which pictures a set holds: how many, and the sha256 over their names and sizes in bytes."""

    count: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Fingerprint":
        """Of a folder or of shards; reads no picture.

        Raises:
            ValueError: if there are none.
        """
        source = open_source(path)
        return cls(count=len(source), sha256=fingerprint(source[index] for index in range(len(source))))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What every row is measured on.

    Attributes:
        protocol: how pictures become numbers.
        record: of the pictures.
        real: (N, 3, R, R) uint8, all in memory.
        shown: positions of the pictures that the page shows.
        labels: (N,) int64, their classes; None where they were not read.
    """

    protocol: EvaluationProtocol
    record: DataRecord
    real: Tensor
    shown: tuple[int, ...]
    labels: Tensor | None = None

    @classmethod
    def read(cls, config: CompareConfig) -> "HeldOut":
        """Read and crop them.

        Raises:
            EvaluationError: if there are none, one cannot be read, or the protocol draws from posteriors.
        """
        named = protocol(config.protocol, config.resolution)
        if named.posterior != "mode":
            raise EvaluationError(
                f"protocol={named.name} draws from posteriors; a comparison decodes their mode"
            )
        data = DataConfig(
            path=config.data.held_out, resolution=config.resolution, max_images=config.data.max_images
        )
        pictures = Pictures.open(data)
        batches = list(pictures.batches(named, config.batch_size, data.num_workers))
        real = torch.cat([batch.data for batch in batches])
        shown = tuple(evenly(range(len(real)), config.gallery))
        source = open_source(data.path)
        chosen = evenly(range(len(source)), data.max_images or len(source))
        labels = torch.tensor([source.label(chosen[key]) for batch in batches for key in batch.keys])
        return cls(named, DataRecord.of(pictures, len(real)), real, shown, labels)
