"""What it costs to encode and decode in tiles: how far the picture moves, and whether the seams show.

Letters: B pictures, R resolution.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan, starts

SMALLEST_MSE = 1e-10
NARROWEST = 2


@dataclass(frozen=True, slots=True)
class Seams:
    """Over a set of pictures.

    Attributes:
        psnr_whole: mean PSNR in dB of reconstructions in one piece.
        psnr_tiled: of those in tiles, both against the original.
        psnr_between: of tiles against one piece.
        seam_ratio: root mean square error in the seams over that elsewhere, in tiles, over the same of one piece: 1
            where the seams do not show.
        share: of the picture that lies in seams.
    """

    psnr_whole: float
    psnr_tiled: float
    psnr_between: float
    seam_ratio: float
    share: float


class SeamError:
    """Accumulates over batches. Seams are where tiles overlap; where they only touch, the two pixels beside the cut.

    Args:
        plan: the tiles.
    """

    def __init__(self, plan: TilePlan) -> None:
        self.plan = plan
        self._psnr: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._energy = torch.zeros(2, 2, dtype=torch.float64)  # (one piece, tiles) x (seams, elsewhere)
        self._share = 0.0

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor) -> None:
        """Add uint8 pictures (B, 3, R, R), on the tokenizer's device.

        Raises:
            NotComputedError: if the latent is no grid, or one tile holds the whole picture.
        """
        mask = self._mask(tokenizer, real).to(real.device)
        x = from_uint8(real)
        whole = to_uint8(tokenizer.decode(tokenizer.encode(x)))
        tiled = to_uint8(tokenizer.decode(tokenizer.encode(x, tiles=self.plan), tiles=self.plan))
        for found, (first, second) in zip(
            self._psnr, ((real, whole), (real, tiled), (whole, tiled)), strict=True
        ):
            mse = mean_squared_error(first.cpu(), second.cpu()).clamp_min(SMALLEST_MSE)
            found.extend(decibels(mse).tolist())
        for row, fake in enumerate((whole, tiled)):
            square = (fake.double() - real.double()).square().sum(dim=(0, 1))  # (R, R)
            self._energy[row, 0] += square[mask].sum().cpu()
            self._energy[row, 1] += square[~mask].sum().cpu()
        self._share = float(mask.double().mean())

    def compute(self) -> Seams:
        """The numbers; ValueError if no picture was given."""
        if not self._psnr[0]:
            raise ValueError("no pictures were given")
        whole, tiled, between = (sum(values) / len(values) for values in self._psnr)
        seam, elsewhere = self._energy.clamp_min(SMALLEST_MSE).sqrt().unbind(dim=1)
        ratio = seam / elsewhere
        return Seams(whole, tiled, between, float(ratio[1] / ratio[0]), self._share)

    def _mask(self, tokenizer: Tokenizer, real: Tensor) -> Tensor:
        """(R, R) bool: the seams."""
        parts = tokenizer.spec.parts
        if len(parts) != 1 or parts[0].layout == "1d":
            raise NotComputedError("a latent that is one grid", "a row of tokens is never cut into tiles")
        factor = parts[0].spatial_factor
        rows, columns = (_seams(side, factor, self.plan) for side in real.shape[-2:])
        if not bool(rows.any() or columns.any()):
            raise NotComputedError(
                f"pictures larger than a tile of {self.plan.tile}, got {tuple(real.shape[-2:])}",
                "choose smaller tiles or a higher resolution",
            )
        return rows[:, None] | columns[None, :]


def half_tiles(resolution: int) -> TilePlan:
    """Tiles of five eighths of the picture that share a quarter of it: two by two of them."""
    return TilePlan(tile=max(2, math.ceil(resolution * 0.625)), overlap=resolution // 4)


def _seams(length: int, factor: int, plan: TilePlan) -> Tensor:
    """(length,) bool along one axis."""
    tile, overlap = plan.in_latents(factor)
    cells = -(-length // factor)
    covered = torch.zeros(cells * factor, dtype=torch.int64)
    seams = torch.zeros(cells * factor, dtype=torch.bool)
    for first in starts(cells, tile, overlap):
        last = min(first + tile, cells)
        covered[first * factor : last * factor] += 1
        if overlap == 0:
            for cut in {first * factor, last * factor} - {0, cells * factor}:
                seams[max(0, cut - NARROWEST // 2) : cut + NARROWEST // 2] = True
    return ((covered > 1) | seams)[:length]
