"""Samples of a generator, made in shards and kept until the report is written.

Sample i is of class i mod classes, from seed + i. Letters: N samples, B of them in a batch, R resolution.
"""

import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from eval.errors import EvaluationError
from eval.generator import Job
from eval.job import depends
from eval.nearest import coarse
from eval.pixels import to_uint8
from eval.progress import Progress
from eval.rows import give_rows, take_rows
from eval.shards import Shard, Shards
from tokenizer.core.parts import write_whole

PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one set of samples is made."""

    guidance: float
    num_steps: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What was generated; the pictures stay on disk.

    Attributes:
        sampling: how.
        labels: N class numbers.
        shards: where they lie.
    """

    sampling: Sampling
    labels: Sequence[int]
    shards: Shards

    @classmethod
    def of(cls, job: Job, sampling: Sampling, name: str = "generate") -> "Samples":
        """A job's samples, made or yet to be made, named by all that they and their features depend on."""
        config = job.config
        model = {
            "generator": job.weights,
            "spec_id": job.tokenizer.spec_id,
            "classes": list(job.pipeline.class_names),
            "seed": config.seed,
            "sampler": config.sampler,
            "guidance": sampling.guidance,
            "num_steps": sampling.num_steps,
        }
        shared = depends(config, job.device, job.pictures, [job.panel])
        shards = Shards(config.out, name, model | shared, config.num_images, config.shard_images)
        classes = len(job.pipeline.class_names)
        return cls(sampling, [index % classes for index in range(config.num_images)], shards)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self) -> Iterator[Tensor]:
        """(B, 3, R, R) uint8, shard by shard."""
        for shard in self.shards:
            yield shard.tensors[PICTURES]

    def pictures(self, numbers: Sequence[int]) -> dict[int, Tensor]:
        """Some samples by number, (3, R, R) uint8."""
        found: dict[int, Tensor] = {}
        for index, span in enumerate(self.shards.spans):
            inside = [number for number in numbers if number in span]
            if inside:
                pictures = self.shards.load(index).tensors[PICTURES]
                found |= {number: pictures[number - span.start].clone() for number in inside}
        return found

    def coarse(self) -> Tensor:
        """What the nearest photographs are sought by: (N, D), see ``eval.nearest``."""
        return torch.cat([coarse(pictures) for pictures in self.batches()])

    def collect(self, job: Job) -> float:
        """Give the metrics the features of all samples; seconds that generation and decoding took."""
        seconds = 0.0
        for shard in self.shards:
            give_rows(job.metrics, shard.tensors)
            seconds += shard.notes["seconds"]
        return seconds

    def write_npz(self, path: Path) -> None:
        """ADM's layout: ``arr_0`` (N, R, R, 3) uint8 and ``arr_1`` labels, one shard in memory at a time."""
        write_whole(path, self._write_npz)

    def _write_npz(self, path: Path) -> None:
        side = self.shards.load(0).tensors[PICTURES].shape[-1]
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            with archive.open("arr_0.npy", "w", force_zip64=True) as stream:
                _write_header(stream, np.dtype(np.uint8), (len(self), side, side, 3))
                for pictures in self.batches():
                    stream.write(pictures.permute(0, 2, 3, 1).contiguous().numpy().data)
            with archive.open("arr_1.npy", "w") as stream:
                np.lib.format.write_array(stream, np.asarray(self.labels, dtype=np.int64), allow_pickle=False)


def make(job: Job, samples: Samples, *, before: int = 0, to_come: int = 0) -> None:
    """Make the samples that no earlier run has, and their features; returns when all processes have.

    Args:
        job: whose generator and metrics.
        samples: what to make.
        before: pictures of earlier phases of the job.
        to_come: pictures of later ones.

    Raises:
        EvaluationError: if a sample holds NaN or infinity.
    """
    shards = samples.shards
    todo = shards.begin()
    with shards.progress(before=before, to_come=to_come) as bar:
        for index in todo:
            shards.save(index, _made(job, samples, shards.spans[index], bar))
        shards.finish(bar)


def _made(job: Job, samples: Samples, span: range, bar: Progress) -> Shard:
    config, seconds, parts = job.config, 0.0, []
    for first in range(span.start, span.stop, config.batch_size):
        numbers = range(first, min(first + config.batch_size, span.stop))
        start = time.perf_counter()
        x = job.pipeline.generate(
            samples.labels[numbers.start : numbers.stop],
            config.seed + first,
            samples.sampling.num_steps,
            samples.sampling.guidance,
            sampler=config.sampler,
            output="pixels",
            batch=config.batch_size,
        )
        try:
            pictures = to_uint8(x).cpu()
        except ValueError as error:
            raise EvaluationError(f"generator={config.generator} dtype={config.dtype}: {error}") from None
        seconds += time.perf_counter() - start
        for metric in job.metrics.values():
            metric.update_fake(pictures, numbers)
        parts.append(pictures)
        bar.update(len(numbers))
    rows = take_rows(job.metrics)
    return Shard(span, {PICTURES: torch.cat(parts), **rows}, notes={"seconds": seconds})


def _write_header(stream: IO[bytes], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
