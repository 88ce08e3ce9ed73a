"""The floor: what any tokenizer must beat at its own bits. A picture is pooled, rounded and enlarged again.

What is sent are the means of a grid of ``side`` x ``side`` cells for each of the three colours, each rounded to
``bits`` bits: 3 side^2 bits in all, no header. Bicubic interpolation enlarges them. Of all grids and depths that
fit a budget, the one with the highest mean PSNR is taken, over up to 64 of the pictures that it is then measured
on: the choice favours the floor.

Letters: B pictures, R resolution, G side of the grid.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.metrics.psnr import decibels, mean_squared_error

MAX_DEPTH = 8
MAX_CHOOSERS = 64


@dataclass(frozen=True, slots=True)
class FloorCode:
    """What is sent of a picture: a grid of ``side`` x ``side`` cells, 3 values each of ``depth`` bits.

    A side of 0 sends nothing; every picture is then middle grey.
    """

    side: int
    depth: int

    @property
    def bits(self) -> int:
        """Bits of one picture."""
        return 3 * self.side * self.side * self.depth

    def __str__(self) -> str:
        return f"{self.side}x{self.side} cells, {self.depth} bits a value" if self.side else "nothing sent"


NOTHING = FloorCode(0, 0)


def pool(pictures: Tensor, side: int) -> Tensor:
    """uint8 (B, 3, R, R) -> the means of side x side cells, float64 (B, 3, G, G); a pixel on a border counts for
    both sides by its share.
    """
    weights = _overlaps(pictures.shape[-1], side)
    means: Tensor = torch.einsum("gh,bchw,kw->bcgk", weights, pictures.double(), weights)
    return means


def quantize(means: Tensor, depth: int) -> Tensor:
    """Means in 0 to 255 -> codes int64 in 0 to 2^depth - 1, evenly spread from black to white."""
    top = float(2**depth - 1)
    return (means / 255.0 * top).round().long()


def enlarge(codes: Tensor, depth: int, resolution: int) -> Tensor:
    """Codes (B, 3, G, G) -> pictures uint8 (B, 3, R, R)."""
    means = codes.double() * 255.0 / (2**depth - 1)
    enlarged = F.interpolate(means, size=(resolution, resolution), mode="bicubic", align_corners=False)
    return enlarged.round().clamp(0, 255).to(torch.uint8)


def reconstruct(pictures: Tensor, code: FloorCode) -> Tensor:
    """uint8 (B, 3, R, R) -> what the floor makes of it, the same."""
    if code.side == 0:
        return torch.full_like(pictures, 128)
    return enlarge(quantize(pool(pictures, code.side), code.depth), code.depth, pictures.shape[-1])


class Floor:
    """Chooses the best code for a budget.

    A larger budget never has a lower PSNR on the pictures of the choice: whatever fits the smaller one fits it too.

    Args:
        pictures: uint8 (N, 3, R, R); up to 64 of them, evenly spread, decide.
    """

    def __init__(self, pictures: Tensor) -> None:
        count = min(len(pictures), MAX_CHOOSERS)
        self.pictures = pictures[[index * len(pictures) // count for index in range(count)]]
        self.sides = ladder(pictures.shape[-1])
        self._pooled: dict[int, Tensor] = {}
        self._psnr: dict[FloorCode, float] = {}

    def best(self, budget: float) -> FloorCode:
        """The code of at most ``budget`` bits a picture with the highest mean PSNR."""
        fitting = [
            code
            for side in self.sides
            for depth in range(1, MAX_DEPTH + 1)
            if (code := FloorCode(side, depth)).bits <= budget
        ]
        return max([NOTHING, *fitting], key=self.psnr)

    def psnr(self, code: FloorCode) -> float:
        """Mean PSNR in dB of the pictures of the choice."""
        if code not in self._psnr:
            mse = mean_squared_error(self.pictures, self._reconstruct(code))
            self._psnr[code] = float(decibels(mse.clamp_min(1e-10)).mean())
        return self._psnr[code]

    def _reconstruct(self, code: FloorCode) -> Tensor:
        if code.side == 0:
            return reconstruct(self.pictures, code)
        if code.side not in self._pooled:
            self._pooled[code.side] = pool(self.pictures, code.side)
        means = self._pooled[code.side]
        return enlarge(quantize(means, code.depth), code.depth, self.pictures.shape[-1])


def ladder(resolution: int, fine: int = 64, step: float = 1.06) -> list[int]:
    """Sides to choose from, the same for every budget: all up to ``fine``, then by ``step``, and all divisors."""
    divisors = {side for side in range(1, resolution + 1) if resolution % side == 0}
    sides = set(range(1, min(fine, resolution) + 1)) | divisors
    for side in _geometric(fine, step, resolution):
        sides.add(side)
    return sorted(sides)


def _geometric(first: int, step: float, last: int) -> Iterable[int]:
    side = float(first)
    while side < last:
        yield int(side)
        side *= step


def _overlaps(resolution: int, side: int) -> Tensor:
    """Share of each pixel in each cell along one axis: (G, R) float64, rows sum to one."""
    edges = torch.arange(side + 1, dtype=torch.float64) * resolution / side
    pixels = torch.arange(resolution, dtype=torch.float64)
    high = torch.minimum(edges[1:, None], pixels + 1)
    low = torch.maximum(edges[:-1, None], pixels)
    return (high - low).clamp_min(0) * side / resolution
