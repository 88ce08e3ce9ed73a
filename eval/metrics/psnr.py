"""Peak signal-to-noise ratio of rounded pictures, averaged over pictures.

The mean of the pictures' PSNR and the PSNR of the pooled error differ by 0.6 to 2 dB; the first is the
field's, the second stands beside it under its own name.
"""

from typing import Self

import torch
from torch import Tensor

from eval.metrics.score import Score, check_pair, mean_score
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsRecord


def mean_squared_error(real: Tensor, fake: Tensor) -> Tensor:
    """Error of each picture in squared grey levels: uint8 (B, 3, H, W) twice -> float64 (B,) on the CPU."""
    check_pair(real, fake)
    # int32: differences of uint8 would wrap around, and the squares are exact until the sum
    squares = (real.int() - fake.int()).square().flatten(1)
    return squares.sum(dim=1, dtype=torch.int64).cpu().double() / squares.shape[1]


def decibels(mse: Tensor, data_range: float = 255.0) -> Tensor:
    """Mean squared error -> PSNR in dB; infinite where the error is 0."""
    return 10.0 * torch.log10(data_range**2 / mse)


class PSNR:
    """Mean over pictures of each picture's PSNR, data range 255."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: EvaluationProtocol) -> None:
        self.protocol = protocol
        self._mse: list[float] = []

    def update(self, real: Tensor, fake: Tensor) -> None:
        """Add pairs: uint8 (B, 3, H, W) both."""
        self._mse += mean_squared_error(real, fake).tolist()

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._mse += other._mse

    def compute(self) -> Score:
        """Mean of the pictures' PSNR in dB; ``pooled`` is the PSNR of the mean error over all pictures."""
        mse = torch.tensor(self._mse, dtype=torch.float64)
        data_range = self.protocol.psnr.data_range
        interval = self.protocol.interval
        details: dict[str, float | int | str] = {"unit": "dB"}
        if self._mse:
            details["pooled"] = float(decibels(mse.mean(), data_range))
        values = decibels(mse, data_range).tolist()
        return mean_score(values, resamples=interval.resamples, seed=interval.seed, details=details)
