"""The floor for video: every so many frames a small picture, enlarged again, and straight lines in between.

Of a clip the frames 0, f, 2 f, ... are sent, f the tokenizer's temporal factor, each as the means of a grid of G_h x
G_w cells of its three colours: no more values than the tokenizer sends of that time. Bicubic interpolation enlarges
them, and every frame between two of them is their weighted mean; what follows the last one repeats it. With 3 latent
channels at f8 the grid is the frame reduced 8 times.

Values of a continuous latent are compared one with one, unrounded; of a discrete one, a value may be had for 8 bits
and is rounded to them.

Letters: T frames, H W rows and columns, G_h G_w rows and columns of the grid.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.spec import LatentSpec

BITS_PER_VALUE = 8


@dataclass(frozen=True, slots=True)
class VideoFloorCode:
    """What is sent.

    Attributes:
        every: frames from one that is sent to the next.
        grid: (G_h, G_w); an area of 0 sends nothing.
        rounded: values are of 8 bits.
    """

    every: int
    grid: tuple[int, int]
    rounded: bool = False

    @property
    def values(self) -> int:
        """Values of a frame that is sent."""
        return 3 * self.grid[0] * self.grid[1]

    def __str__(self) -> str:
        size = f"{self.grid[0]}x{self.grid[1]} cells of every frame {self.every}"
        return f"{size}, 8 bits a value" if self.rounded else size


def floor_code(spec: LatentSpec, height: int, width: int) -> VideoFloorCode:
    """The finest grid whose values a tokenizer with ``spec`` also sends, for frames (H, W).

    The budget is that of one more latent frame in a long clip; of a tokenizer of pictures, of one picture.
    """
    every = max(part.temporal_factor for part in spec.parts)
    rounded = any(part.codebook_size is not None for part in spec.parts)
    unit = BITS_PER_VALUE if rounded else 1
    if spec.time == "none":
        budget = spec.bits((height, width), bits_per_value=1)
    else:
        step = every if spec.chunk_frames is None else spec.chunk_frames
        long, longer = (spec.bits((1 + count * step, height, width), bits_per_value=1) for count in (8, 9))
        budget = (longer - long) * every / step
    return VideoFloorCode(every, finest_grid(int(budget // unit), height, width), rounded)


def finest_grid(values: int, height: int, width: int) -> tuple[int, int]:
    """The largest (G_h, G_w) of about the frame's shape with 3 G_h G_w <= ``values``, no finer than the frame."""
    cells = min(values // 3, height * width)
    found = [(0, 0)]
    for rows in range(1, min(height, cells) + 1):
        columns = min(cells // rows, width)
        if _distortion((rows, columns), height, width) <= math.log(2):
            found.append((rows, columns))
    if len(found) == 1 and cells:
        return (1, min(cells, width)) if width >= height else (min(cells, height), 1)
    return max(found, key=lambda grid: (grid[0] * grid[1], -_distortion(grid, height, width)))


def _distortion(grid: tuple[int, int], height: int, width: int) -> float:
    """How far the cells are from squares: the logarithm of their sides' ratio, 0 where there are none."""
    rows, columns = grid
    return abs(math.log(rows * width / (columns * height))) if rows * columns else 0.0


def floor_frames(frames: Iterable[Tensor], code: VideoFloorCode) -> Iterator[Tensor]:
    """Frames (3, H, W) uint8 of a clip -> what the floor makes of them, the same; none is held for long."""
    before: Tensor | None = None
    waiting = 0
    for number, frame in enumerate(frames):
        if number % code.every:
            waiting += 1
            continue
        now = sent(frame, code)
        if before is not None:
            for place in range(1, code.every):
                share = place / code.every
                yield _rounded(before * (1 - share) + now * share)
        yield _rounded(now)
        before, waiting = now, 0
    if before is not None:
        for _ in range(waiting):
            yield _rounded(before)


def sent(frame: Tensor, code: VideoFloorCode) -> Tensor:
    """uint8 (3, H, W) -> the frame from its grid alone, float64."""
    height, width = frame.shape[1:]
    if not code.values:
        return torch.full(frame.shape, 128.0, dtype=torch.float64)
    rows, columns = _overlaps(height, code.grid[0]), _overlaps(width, code.grid[1])
    means = torch.einsum("gh,chw,kw->cgk", rows, frame.double(), columns)
    if code.rounded:
        means = means.round()
    enlarged = F.interpolate(means.unsqueeze(0), size=(height, width), mode="bicubic", align_corners=False)
    return enlarged[0]


def _rounded(frame: Tensor) -> Tensor:
    return frame.round().clamp(0, 255).to(torch.uint8)


def _overlaps(side: int, cells: int) -> Tensor:
    """Share of each pixel in each cell along one axis: (G, side) float64, rows sum to one."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * side / cells
    pixels = torch.arange(side, dtype=torch.float64)
    high = torch.minimum(edges[1:, None], pixels + 1)
    low = torch.maximum(edges[:-1, None], pixels)
    return (high - low).clamp_min(0) * cells / side
