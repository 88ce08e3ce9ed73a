"""Peak signal-to-noise ratio, averaged over pictures.

The mean of the pictures' PSNR and the PSNR of the pooled error differ by 0.6 to 2 dB; the first is the
field's, the second stands beside it under its own name.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from eval.metrics.score import Score, bootstrap_mean, check_pair, mean_score
from eval.protocols import Domain, EvaluationProtocol
from eval.rows import Rows
from eval.weights import WeightsRecord


def mean_squared_error(real: Tensor, fake: Tensor, domain: Domain = "uint8") -> Tensor:
    """Error of each picture in squared grey levels: (B, 3, H, W) twice -> float64 (B,) on the CPU.

    Both are uint8, or floats about [-1, 1] in the other domains.
    """
    check_pair(real, fake, domain)
    if domain != "uint8":
        return ((real.cpu().double() - fake.cpu().double()) * 127.5).square().flatten(1).mean(dim=1)
    # int32: differences of uint8 would wrap around, and the squares are exact until the sum
    squares = (real.int() - fake.int()).square().flatten(1)
    return squares.sum(dim=1, dtype=torch.int64).cpu().double() / squares.shape[1]


def decibels(mse: Tensor, data_range: float = 255.0) -> Tensor:
    """Mean squared error -> PSNR in dB; infinite where the error is 0."""
    return 10.0 * torch.log10(data_range**2 / mse)


class PSNR:
    """PSNR as the protocol takes it: nearly always the mean over pictures of each picture's, data range 255."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: EvaluationProtocol) -> None:
        self.protocol = protocol
        self._mse = Rows()
        self._peaks = Rows()

    @property
    def domain(self) -> Domain:
        """The form of the pictures that ``update`` takes."""
        return self.protocol.psnr.domain

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both."""
        self._mse.add(mean_squared_error(real, fake, self.domain), keys)
        if self.protocol.psnr.range_from == "largest_original":
            pixels = real if self.domain == "uint8" else (real + 1.0) * 127.5
            self._peaks.add(pixels.flatten(1).amax(dim=1).double().cpu(), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._mse.merge(other._mse)
        self._peaks.merge(other._peaks)

    def compute(self) -> Score:
        """Mean of the pictures' PSNR in dB; ``pooled`` is the PSNR of the mean error over all pictures.

        Under a protocol that pools, the value is the pooled one.
        """
        mse = self._mse.table()
        settings, interval = self.protocol.psnr, self.protocol.interval
        fixed = settings.range_from == "fixed"
        data_range = settings.data_range if fixed else float(self._peaks.table().max())
        pooled = float(decibels(mse.mean(), data_range))
        details: dict[str, float | int | str] = {"unit": "dB", "pooled": pooled}
        values = decibels(mse, data_range).tolist()
        score = mean_score(values, resamples=interval.resamples, seed=interval.seed, details=details)
        if settings.average == "per_image":
            return score
        low, high = bootstrap_mean(mse.tolist(), resamples=interval.resamples, seed=interval.seed)
        ends = decibels(torch.tensor([high, low], dtype=torch.float64), data_range).tolist()
        return replace(
            score,
            value=pooled,
            ci95=(ends[0], ends[1]),
            details={**details, "mean_of_pictures": score.value, "data_range": data_range},
        )
