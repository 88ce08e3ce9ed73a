"""Structural similarity: Gaussian window of 11, sigma 1.5, without padding, mean over positions and RGB.

Source: Wang, Bovik, Sheikh and Simoncelli 2004, Image Quality Assessment: From Error Visibility to Structural
Similarity, IEEE TIP 13(4), section III-C (K1 = 0.01, K2 = 0.03; weighted, biased moments).
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.metrics.score import Score, check_pair, mean_score
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsRecord


def ssim(
    real: Tensor, fake: Tensor, *, window: int = 11, sigma: float = 1.5, data_range: float = 255.0
) -> Tensor:
    """SSIM of each pair: uint8 (B, 3, H, W) twice -> float64 (B,) on the CPU.

    Raises:
        ValueError: if a side is shorter than the window.
    """
    check_pair(real, fake)
    if min(real.shape[-2:]) < window:
        raise ValueError(f"SSIM needs sides of at least {window} pixels, got {tuple(real.shape[-2:])}")
    # float64: in float32 the difference E[x^2] - E[x]^2 loses four digits at this range
    device = real.device if real.device.type != "mps" else torch.device("cpu")
    x, y = real.to(device).double(), fake.to(device).double()
    kernel = _gaussian(window, sigma).to(device)
    mean_x, mean_y = _blur(x, kernel), _blur(y, kernel)  # (B, 3, H - 10, W - 10)
    variance_x = _blur(x * x, kernel) - mean_x.square()
    variance_y = _blur(y * y, kernel) - mean_y.square()
    covariance = _blur(x * y, kernel) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).flatten(1).mean(dim=1).cpu()


def _gaussian(window: int, sigma: float) -> Tensor:
    positions = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    weights = torch.exp(-positions.square() / (2 * sigma**2))
    return weights / weights.sum()


def _blur(x: Tensor, kernel: Tensor) -> Tensor:
    rows = F.conv2d(x.flatten(0, 1).unsqueeze(1), kernel.view(1, 1, -1, 1))  # (B 3, 1, H - 10, W)
    both = F.conv2d(rows, kernel.view(1, 1, 1, -1))
    return both.view(*x.shape[:2], *both.shape[-2:])


class SSIM:
    """Mean over pictures of each picture's SSIM."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: EvaluationProtocol) -> None:
        self.protocol = protocol
        self._values: list[float] = []

    def update(self, real: Tensor, fake: Tensor) -> None:
        """Add pairs: uint8 (B, 3, H, W) both."""
        settings = self.protocol.ssim
        values = ssim(
            real, fake, window=settings.window, sigma=settings.sigma, data_range=settings.data_range
        )
        self._values += values.tolist()

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._values += other._values

    def compute(self) -> Score:
        """Mean over pictures, at most 1."""
        interval = self.protocol.interval
        return mean_score(self._values, resamples=interval.resamples, seed=interval.seed)
