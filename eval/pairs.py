"""Samples beside the training photographs that are nearest to them, for the grid and the page.

Letters: R resolution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from eval.data import evenly, read_crop
from eval.generator import Job
from eval.nearest import METRIC, Neighbour
from eval.page import Figure, Section
from eval.samples import Samples
from eval.settings import GenerateConfig


@dataclass(frozen=True, slots=True)
class Pair:
    """A sample and its nearest photograph, (3, R, R) uint8 both; mirrored where that is the nearer one."""

    sample: Tensor
    photograph: Tensor
    caption: str


def pairs(
    job: Job, config: GenerateConfig, samples: Samples, neighbours: Sequence[Neighbour]
) -> Iterator[tuple[str, list[Pair]]]:
    """(class name, its first pairs) for the classes that the grid and the page show."""
    shown = {}
    for label in evenly(sorted(set(samples.labels)), config.grid_classes):
        rows = [row for row, other in enumerate(samples.labels) if other == label]
        shown[label] = rows[: config.grid_per_class]
    made = samples.pictures([row for rows in shown.values() for row in rows])
    for label, rows in shown.items():
        found = []
        for row in rows:
            neighbour = neighbours[row]
            photograph, _ = read_crop(neighbour.file, job.pictures.resolution)
            found.append(
                Pair(
                    made[row],
                    photograph.flip(-1) if neighbour.mirrored else photograph,
                    f"seed {config.seed + row}; nearest is {neighbour.file.name}"
                    f"{' mirrored' if neighbour.mirrored else ''}, {neighbour.distance:.1f} grey levels away",
                )
            )
        yield job.pipeline.class_names[label], found


def sections(job: Job, shown: Sequence[tuple[str, Sequence[Pair]]]) -> list[Section]:
    """A section of the page for each class."""
    return [
        Section(
            f"Class {name}",
            [
                Figure(
                    [("sample", pair.sample), ("nearest training photograph", pair.photograph)], pair.caption
                )
                for pair in found
            ],
            remark=f"Distance: {METRIC}; among all {len(job.pictures.files)} photographs of any class."
            if number == 0
            else "",
        )
        for number, (name, found) in enumerate(shown)
    ]
