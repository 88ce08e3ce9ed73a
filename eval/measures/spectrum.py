"""How the energy of a latent's grid falls with frequency: flat is noise, steep is smooth.

Every grid is cosine-transformed (type II, orthonormal), which needs no window because it mirrors at the border; the
power is summed in rings of equal frequency, and a line through log power over log frequency is its slope. Pictures
have about -2; latents that fall less hold noise which a generator must learn and a decoder may not need.

Source: Skorokhodov et al. 2025, Improving the Diffusability of Autoencoders, arXiv 2502.14831 (power of DCT
coefficients of latents against that of pictures).

Letters: B samples, C latent channels, S any axes before the plane, H W the latent's plane.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from eval.errors import NotComputedError

SMALLEST = 4
FLAT = 1e-20  # what rounding leaves of a constant's energy


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Rings of a cosine transform.

    Attributes:
        frequency: cycles per cell, rising, at most 1/2.
        power: mean square of the coefficients of a ring.
        slope: of log power over log frequency, least squares; 0 for noise.
        upper_half: share of the energy of all rings that lies above half of the highest frequency.
    """

    frequency: tuple[float, ...]
    power: tuple[float, ...]
    slope: float
    upper_half: float


class LatentSpectrum:
    """Sums of power by ring in float64, additive over batches and shards of one grid."""

    def __init__(self) -> None:
        self._grid: tuple[int, int] | None = None
        self._power = torch.zeros(0, dtype=torch.float64)
        self._count = torch.zeros(0, dtype=torch.int64)

    def add(self, z: Tensor) -> None:
        """Count latents (B, C, *S, H, W).

        Raises:
            NotComputedError: if a side has fewer than 4 cells.
            ValueError: if the grid is not that of the latents before.
        """
        grid = (int(z.shape[-2]), int(z.shape[-1]))
        if min(grid) < SMALLEST:
            raise NotComputedError(
                f"a grid of at least {SMALLEST} x {SMALLEST}, got {grid}", "use larger pictures"
            )
        if self._grid is None:
            self._begin(grid)
        if self._grid != grid:
            raise ValueError(f"latents of {grid} after latents of {self._grid}: a spectrum is of one grid")
        planes = z.detach().cpu().double().reshape(-1, *grid)
        power = (cosines(grid[0]) @ planes @ cosines(grid[1]).T).square().sum(dim=0)  # (H, W)
        rings = _rings(grid)
        kept = rings < min(grid)
        self._power.index_add_(0, rings[kept], power[kept])
        self._count += len(planes) * torch.bincount(rings[kept], minlength=min(grid))

    def merge(self, other: Self) -> None:
        """Add what ``other`` counted; ValueError if it is of another grid."""
        self.add_state(other.state())

    def state(self) -> dict[str, Tensor]:
        """All of it, float64 and int64."""
        return {
            "grid": torch.tensor(self._grid or (0, 0)),
            "power": self._power.clone(),
            "count": self._count.clone(),
        }

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        """Add what ``state`` was taken from.

        Raises:
            ValueError: if it is of another grid.
        """
        height, width = (int(side) for side in state["grid"])
        if height == 0:
            return
        if self._grid is None:
            self._begin((height, width))
        if self._grid != (height, width):
            raise ValueError(f"spectra of {self._grid} and {(height, width)} do not add up")
        self._power += state["power"]
        self._count += state["count"]

    def compute(self) -> Spectrum:
        """The spectrum without its mean; ValueError if nothing was counted, or every grid is flat."""
        if self._grid is None:
            raise ValueError(f"no grid of at least {SMALLEST} x {SMALLEST} was counted")
        total = self._power[1:]
        if float(total.sum()) <= FLAT * float(self._power.sum()):
            raise ValueError("the latents are flat: they have no spectrum")
        power = total / self._count[1:]
        side = min(self._grid)
        frequency = torch.arange(1, side, dtype=torch.float64) / (2 * side)
        seen = power > 0
        across, up = frequency[seen].log(), power[seen].log()
        across = across - across.mean()
        spread = float(across.square().sum())
        slope = float((across * (up - up.mean())).sum()) / spread if spread > 0 else 0.0
        return Spectrum(
            frequency=tuple(frequency.tolist()),
            power=tuple(power.tolist()),
            slope=slope,
            upper_half=float(total[frequency > 0.25].sum() / total.sum()),
        )

    def _begin(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self._power = torch.zeros(min(grid), dtype=torch.float64)
        self._count = torch.zeros(min(grid), dtype=torch.int64)


def cosines(count: int) -> Tensor:
    """The orthonormal type II cosine transform of ``count`` values: (frequency, place) float64."""
    place = torch.arange(count, dtype=torch.float64)
    matrix = torch.cos(math.pi / count * (place + 0.5) * place[:, None]) * math.sqrt(2.0 / count)
    matrix[0] /= math.sqrt(2.0)
    return matrix


def _rings(grid: tuple[int, int]) -> Tensor:
    """(H, W) int64: distance from the mean's coefficient, in steps of the shorter side's lowest frequency."""
    side = min(grid)
    rows, columns = (torch.arange(count, dtype=torch.float64) * side / count for count in grid)
    return torch.hypot(rows[:, None], columns[None, :]).round().long()
