"""The photograph nearest to a generated picture: whether a generator makes or remembers.

Distance: root mean square over the RGB values of 32x32 area means, in grey levels, the smaller of the
photograph and its mirror image (training may mirror). Coarse on purpose: a crop moved by a pixel stays near.

Letters: B pictures, H W rows and columns, N generated pictures.
"""

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
        made: (N, 3, H, W) uint8.
    """

    def __init__(self, made: Tensor) -> None:
        self._made = coarse(made)  # (N, 3 * 32 * 32)
        self._best = torch.full((len(made),), torch.inf)
        self._files: list[Picture | None] = [None] * len(made)
        self._mirrored = [False] * len(made)

    def update(self, files: tuple[Picture, ...], photographs: Tensor) -> None:
        """Show photographs: (B, 3, H, W) uint8."""
        for mirrored in (False, True):
            shown = coarse(photographs.flip(-1) if mirrored else photographs)
            index = torch.cdist(self._made, shown).argmin(dim=1)
            distance = (self._made - shown[index]).norm(dim=1)  # cdist itself rounds small distances
            for row in (distance < self._best).nonzero().flatten().tolist():
                self._best[row] = distance[row]
                self._files[row] = files[int(index[row])]
                self._mirrored[row] = mirrored

    def result(self) -> list[Neighbour]:
        """One neighbour for each generated picture, in order; ValueError before any photograph was shown."""
        scale = (3 * SIDE * SIDE) ** 0.5
        found = []
        for file, distance, mirrored in zip(self._files, self._best.tolist(), self._mirrored, strict=True):
            if file is None:
                raise ValueError("no photographs were shown")
            found.append(Neighbour(file, distance / scale, mirrored))
        return found


def coarse(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3 * 32 * 32) float32, means of areas, in grey levels."""
    return F.adaptive_avg_pool2d(pictures.float(), SIDE).flatten(1)
