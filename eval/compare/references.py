"""Floor, JPEG and WebP at the bits of the members, and their curves over all bits.

Letters: N pictures, R resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eval.compare.measuring import Gatherer
from eval.compare.pictures import HeldOut
from eval.compare.record import Point, ReferenceRow
from eval.compare.settings import CompareConfig, ReferenceName
from eval.measures import floor
from eval.measures.patch_frechet import PatchFrechet
from eval.measures.picture_codecs import CODECS, CodecName, CodecSearch
from eval.measures.sharpness import Sharpness
from eval.metrics.psnr import decibels, mean_squared_error
from eval.report import Panel

CURVE_QUALITIES = (0, 1, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)
CURVE_STEP = 2.0


@dataclass(frozen=True, slots=True)
class Reference:
    """A row and its pictures.

    Attributes:
        shown: (S, 3, R, R) uint8 of ``HeldOut.shown``; None where it cannot keep to the budget.
    """

    row: ReferenceRow
    shown: Tensor | None


class References:
    """The references of one set of pictures; what was searched for one budget serves the next.

    Args:
        config: which, and with which metrics.
        held_out: the pictures.
        device: where metrics run.
    """

    def __init__(self, config: CompareConfig, held_out: HeldOut, device: torch.device) -> None:
        self.config = config
        self.held_out = held_out
        self.device = device
        self._floor = floor.Floor(held_out.real)
        self._codecs = {name: CodecSearch(codec, held_out.real) for name, codec in CODECS.items()}

    def at(self, kind: ReferenceName, budget: float) -> Reference:
        """One reference within ``budget`` bits a picture."""
        if kind == "floor":
            code = self._floor.best(budget)
            fake = self._batched(code)
            return self._measured(kind, budget, code.bits, str(code), fake)
        return self._coded(kind, budget)

    def curve(self, kind: ReferenceName, budgets: Sequence[float]) -> tuple[Point, ...]:
        """PSNR over bits: the floor between the smallest and the largest budget, a codec at its qualities."""
        pixels = self.config.resolution**2
        points: list[tuple[float, Tensor, str]] = []
        if kind == "floor":
            for bits in _between(min(budgets) / 2, max(budgets) * 2):
                code = self._floor.best(bits)
                points.append((code.bits, self._batched(code), str(code)))
        else:
            search = self._codecs[kind]
            for quality in (q for q in CURVE_QUALITIES if q >= search.codec.lowest):
                coded = search.at(quality)
                points.append((coded.mean_bits, coded.pictures, f"quality {quality}"))
        return tuple(
            Point(bits_per_pixel=bits / pixels, psnr=self._psnr(fake), setting=setting)
            for bits, fake, setting in points
        )

    def _coded(self, kind: CodecName, budget: float) -> Reference:
        search = self._codecs[kind]
        quality = search.best(budget)
        if quality is None:
            smallest = search.mean_bits(search.codec.lowest)
            remark = f"its smallest files have {smallest:.0f} bits on average, headers included: more than {budget:.0f}"
            return Reference(
                ReferenceRow(kind=kind, budget=budget, bits=None, setting="none small enough", remark=remark),
                None,
            )
        coded = search.at(quality)
        return self._measured(kind, budget, coded.mean_bits, f"quality {quality}", coded.pictures)

    def _measured(
        self, kind: ReferenceName, budget: float, bits: float, setting: str, fake: Tensor
    ) -> Reference:
        panel = Panel(self.config.metrics, self.held_out.protocol, self.config.weights, self.device)
        sharpness, patches = Sharpness(), PatchFrechet()
        for real, made in zip(
            torch.split(self.held_out.real, self.config.batch_size),
            torch.split(fake, self.config.batch_size),
            strict=True,
        ):
            panel.update(real, made)
            sharpness.update(real, made)
            patches.update_real(real)
            patches.update_fake(made)
        gathered = Gatherer()
        gathered.panel(panel)
        gathered.values |= {
            "bits_per_pixel": bits / self.config.resolution**2,
            "sharpness": sharpness.compute(),
            "frechet_patches": patches.compute().mean,
        }
        row = ReferenceRow(kind=kind, budget=budget, bits=bits, setting=setting, numbers=gathered.record())
        return Reference(row, fake[list(self.held_out.shown)])

    def _batched(self, code: floor.FloorCode) -> Tensor:
        parts = torch.split(self.held_out.real, self.config.batch_size)
        return torch.cat([floor.reconstruct(real, code) for real in parts])

    def _psnr(self, fake: Tensor) -> float:
        mse = mean_squared_error(self.held_out.real, fake).clamp_min(1e-10)
        return float(decibels(mse).mean())


def _between(low: float, high: float) -> list[float]:
    """From low to high, each ``CURVE_STEP`` times the one before, and high."""
    found = [low]
    while found[-1] * CURVE_STEP < high:
        found.append(found[-1] * CURVE_STEP)
    return [*found, high]
