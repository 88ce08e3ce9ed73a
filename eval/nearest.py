"""The photograph nearest to a generated picture: whether a generator makes or remembers.

Distance: root mean square over the RGB values of 32x32 area means, in grey levels, the smaller of the
photograph and its mirror image (training may mirror). Coarse on purpose: a crop moved by a pixel stays near.

Letters: B pictures, H W rows and columns, N generated pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.data.picture import Picture

SIDE = 32
METRIC = f"RMS over {SIDE}x{SIDE} RGB area means, grey levels, photographs also mirrored"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The nearest photograph of one generated picture.

    Attributes:
        file: where it lies.
        distance: in grey levels.
        mirrored: whether its mirror image is the nearer one.
    """

    file: Picture
    distance: float
    mirrored: bool


class NearestPhotographs:
    """Keeps, for each of N generated pictures, the nearest of the photographs shown so far.

    Args:
        made: (N, D), the generated pictures as ``coarse`` gives them.
    """

    def __init__(self, made: Tensor) -> None:
        self._made = made
        self._forget()

    def update(self, keys: Sequence[int], photographs: Tensor) -> None:
        """Show photographs: their numbers, and (B, 3, H, W) uint8."""
        numbers = torch.tensor(keys)
        for mirrored in (False, True):
            shown = coarse(photographs.flip(-1) if mirrored else photographs)
            index = torch.cdist(self._made, shown).argmin(dim=1)
            distance = (self._made - shown[index]).norm(dim=1)  # cdist itself rounds small distances
            self._keep(distance, numbers[index], torch.full_like(distance, mirrored, dtype=torch.bool))

    def take(self) -> dict[str, Tensor]:
        """What was found among the photographs since it was made or last asked; it starts anew."""
        found = {"distance": self._best, "key": self._keys, "mirrored": self._mirrored}
        self._forget()
        return found

    def give(self, found: Mapping[str, Tensor]) -> None:
        """Add what ``take`` gave; of photographs equally near, the one shown or given first stays."""
        self._keep(found["distance"], found["key"], found["mirrored"])

    def result(self, files: Sequence[Picture]) -> list[Neighbour]:
        """One neighbour for each generated picture, in order; ValueError before any photograph was shown.

        Args:
            files: the photographs by number.
        """
        if bool((self._keys < 0).any()):
            raise ValueError("no photographs were shown")
        scale = (3 * SIDE * SIDE) ** 0.5
        found = zip(self._keys.tolist(), self._best.tolist(), self._mirrored.tolist(), strict=True)
        return [Neighbour(files[key], distance / scale, mirrored) for key, distance, mirrored in found]

    def _forget(self) -> None:
        count = len(self._made)
        self._best = torch.full((count,), torch.inf)
        self._keys = torch.full((count,), -1)
        self._mirrored = torch.zeros(count, dtype=torch.bool)

    def _keep(self, distance: Tensor, keys: Tensor, mirrored: Tensor) -> None:
        nearer = distance < self._best
        self._best = distance.where(nearer, self._best)
        self._keys = keys.where(nearer, self._keys)
        self._mirrored = mirrored.where(nearer, self._mirrored)


def coarse(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3 * 32 * 32) float32, means of areas, in grey levels."""
    return F.adaptive_avg_pool2d(pictures.float(), SIDE).flatten(1)
