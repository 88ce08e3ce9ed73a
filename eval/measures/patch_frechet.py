"""Frechet distance of patches of pixels at several scales: how far two sets of pictures are apart, without a network.

Feature space, which is the whole definition: a picture in [0, 1] is halved by means of 2 x 2 pixels until its side
would fall below 16; of every picture of this pyramid each 8 x 8 patch at a stride of 8 is a vector of 192 numbers.
The last step pools the whole picture to 8 x 8, one vector a picture. At each scale the two sets of vectors are compared
as Gaussians; the distance is the mean over scales, in squares of grey levels of [0, 1] summed over a patch.

It sees colours, contrasts, edges, textures of up to 8 pixels at each scale and layouts of 8 x 8; it knows nothing of
objects. It is no FID and no number of it may be set beside one.

Letters: N pictures, R resolution, D = 192.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from eval.frechet import Moments, frechet_distance

PATCH = 8


@dataclass(frozen=True, slots=True)
class PatchDistance:
    """What two sets differ by.

    Attributes:
        scales: distance by the side that pictures had, from full size to 8.
    """

    scales: dict[int, float]

    @property
    def mean(self) -> float:
        """Over the scales."""
        return sum(self.scales.values()) / len(self.scales)


def patches(pictures: Tensor) -> dict[int, Tensor]:
    """uint8 (N, 3, R, R) -> patches of every scale, by its side: (N * patches, 192) float32 in [0, 1].

    Raises:
        ValueError: if the pictures are no squares of at least 8 pixels.
    """
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[-1] != pictures.shape[-2]:
        raise ValueError(
            f"pictures must be squares, uint8 (N, 3, R, R), got {pictures.dtype} {tuple(pictures.shape)}"
        )
    if pictures.shape[-1] < PATCH:
        raise ValueError(f"pictures must have at least {PATCH} pixels a side, got {pictures.shape[-1]}")
    x = pictures.float() / 255.0
    found = {}
    while x.shape[-1] >= 2 * PATCH:
        found[x.shape[-1]] = _cut(x)
        x = F.avg_pool2d(x, 2)
    found[PATCH] = _cut(F.adaptive_avg_pool2d(x, PATCH))
    return found


class PatchFrechet:
    """Gathers both sets batch by batch, sums in float64."""

    def __init__(self) -> None:
        self._real: dict[int, Moments] = {}
        self._fake: dict[int, Moments] = {}

    def update_real(self, pictures: Tensor) -> None:
        """Add uint8 pictures (N, 3, R, R) to the set that the other is compared with."""
        _add(self._real, pictures)

    def update_fake(self, pictures: Tensor) -> None:
        """Add uint8 pictures (N, 3, R, R) to the set that is judged."""
        _add(self._fake, pictures)

    def compute(self) -> PatchDistance:
        """The distances.

        Raises:
            ValueError: if a set has fewer than two pictures, or the sets have different sizes.
        """
        if self._real.keys() != self._fake.keys():
            raise ValueError(f"the sets have scales {sorted(self._real)} and {sorted(self._fake)}")
        for moments in (self._real, self._fake):
            if not moments or moments[PATCH].n < 2:
                raise ValueError("each set needs at least two pictures")
        return PatchDistance(
            {side: frechet_distance(self._fake[side], real) for side, real in self._real.items()}
        )


def patch_frechet(real: Tensor, fake: Tensor) -> PatchDistance:
    """Between two sets of uint8 pictures (N, 3, R, R) and (M, 3, R, R)."""
    measure = PatchFrechet()
    measure.update_real(real)
    measure.update_fake(fake)
    return measure.compute()


def _cut(x: Tensor) -> Tensor:
    side = x.shape[-1] // PATCH * PATCH
    x = x[..., :side, :side]
    rows: Tensor = rearrange(x, "n c (h i) (w j) -> (n h w) (c i j)", i=PATCH, j=PATCH)
    return rows


def _add(moments: dict[int, Moments], pictures: Tensor) -> None:
    for side, rows in patches(pictures.cpu()).items():
        found = Moments.of(rows)
        moments[side] = moments[side] + found if side in moments else found
