"""Structural similarity in the implementations that the field uses, and its multi-scale form, all in float64.

Sources: Wang, Bovik, Sheikh and Simoncelli 2004, Image Quality Assessment: From Error Visibility to Structural
Similarity, IEEE TIP 13(4), section III-C (K1 = 0.01, K2 = 0.03; weighted, biased moments); Wang, Simoncelli and
Bovik 2003, Multi-scale Structural Similarity for Image Quality Assessment, Asilomar, section 3.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.metrics.score import Score, check_pair, mean_score
from eval.protocols import Domain, EvaluationProtocol, SSIMSettings
from eval.rows import Rows
from eval.weights import WeightsRecord

K1, K2 = 0.01, 0.03
LEVELS = 255


def ssim(real: Tensor, fake: Tensor, settings: SSIMSettings | None = None) -> Tensor:
    """SSIM of each pair: (B, 3, H, W) twice, uint8 or floats about [-1, 1] -> float64 (B,) on the CPU.

    Raises:
        ValueError: if a side is shorter than the window.
    """
    settings = settings or SSIMSettings()
    check_pair(real, fake, settings.domain)
    x, y = _values(real, settings), _values(fake, settings)
    luminance, structure = _terms(x, y, settings)
    return (luminance * structure).flatten(1).mean(dim=1).cpu()


def ssim_of_ranges(real: Tensor, fake: Tensor, settings: SSIMSettings) -> Tensor:
    """Extremes and SSIM of each pair of bytes under every data range that its batch may turn out to have.

    Where the range comes from the other pictures of a batch, this is what a picture can say alone: (B, 4 + 255)
    float64 on the CPU, the smallest and the largest value of ``real`` and of ``fake``, then SSIM under a range of 1
    to 255 grey levels; NaN below the pair's own.
    """
    check_pair(real, fake, settings.domain)
    rows = []
    for x, y in zip(real, fake, strict=True):
        ends = [float(value) for side in (x, y) for value in (side.min(), side.max())]
        own = int(max(ends[1] - ends[0], ends[3] - ends[2], 1.0))
        mean_x, mean_y, variance_x, variance_y, covariance = _moments(
            x.unsqueeze(0).double(), y.unsqueeze(0).double(), settings
        )
        products, squares = 2 * mean_x * mean_y, mean_x.square() + mean_y.square()
        covariances, variances = 2 * covariance, variance_x + variance_y
        values = [float("nan")] * (own - 1)
        for data_range in range(own, LEVELS + 1):
            c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
            above, below = (products + c1).mul_(covariances + c2), (squares + c1).mul_(variances + c2)
            values.append(float(above.div_(below).mean()))
        rows.append(torch.tensor(ends + values, dtype=torch.float64))
    return torch.stack(rows)


def in_batches(rows: Tensor, size: int) -> list[float]:
    """SSIM of each picture from the rows of ``ssim_of_ranges`` (N, 259), its range that of its batch in order."""
    values: list[float] = []
    for part in torch.split(rows, size):
        spans = [part[:, at + 1].max() - part[:, at].min() for at in (0, 2)]
        data_range = int(max(*spans, torch.tensor(1.0)))
        values += part[:, 3 + data_range].tolist()
    return values


def ms_ssim(
    real: Tensor, fake: Tensor, *, weights: Sequence[float], domain: Domain = "uint8", window: int = 11
) -> Tensor:
    """Multi-scale SSIM of each pair, as above: structure at every scale, luminance at the last.

    Each channel has its own product, with negative terms cut at 0; halving averages 2x2, after a border of zeros
    where a side is odd, as the code that made the published numbers does.

    Raises:
        ValueError: if the last scale is smaller than the window.
    """
    check_pair(real, fake, domain)
    settings = SSIMSettings(domain=domain, window=window)
    if (shortest := min(real.shape[-2:])) < smallest_side(len(weights), window):
        needed = smallest_side(len(weights), window)
        raise ValueError(f"MS-SSIM needs sides of at least {needed} pixels, got {shortest}")
    x, y = _values(real, settings), _values(fake, settings)
    product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)  # (B, 3)
    for scale, weight in enumerate(weights):
        if scale:
            border = [side % 2 for side in x.shape[-2:]]
            x, y = F.avg_pool2d(x, 2, padding=border), F.avg_pool2d(y, 2, padding=border)
        luminance, structure = _terms(x, y, settings)
        last = scale == len(weights) - 1
        term = (luminance * structure if last else structure).flatten(2).mean(dim=2)
        product = product * term.clamp(min=0.0) ** weight
    return product.mean(dim=1).cpu()


def smallest_side(scales: int, window: int = 11) -> int:
    """The side below which the last of the scales would not hold one window."""
    return (window - 1) * (1 << (scales - 1)) + 1


def _values(pictures: Tensor, settings: SSIMSettings) -> Tensor:
    # float64: in float32 the difference E[x^2] - E[x]^2 loses four digits at this range
    device = pictures.device if pictures.device.type != "mps" else torch.device("cpu")
    x = pictures.to(device).double()
    unit = x / 255.0 if settings.domain == "uint8" else (x + 1.0) / 2.0
    if settings.domain == "uint8" and (settings.low, settings.high) == (0.0, 255.0):
        return x
    return settings.low + (settings.high - settings.low) * unit


def _terms(x: Tensor, y: Tensor, settings: SSIMSettings) -> tuple[Tensor, Tensor]:
    """The luminance and the structure term at every position, (B, 3, H', W')."""
    return _ratios(_moments(x, y, settings), settings.data_range)


def _moments(x: Tensor, y: Tensor, settings: SSIMSettings) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means, variances and covariance at every position, each (B, 3, H', W')."""
    window = settings.window
    if min(x.shape[-2:]) < window:
        raise ValueError(f"SSIM needs sides of at least {window} pixels, got {tuple(x.shape[-2:])}")
    kernel = _kernel(settings).to(x.device)
    if settings.padding == "reflect":
        border = [window // 2] * 4
        x, y = F.pad(x, border, mode="reflect"), F.pad(y, border, mode="reflect")
    mean_x, mean_y = _blur(x, kernel), _blur(y, kernel)
    variance_x = (_blur(x * x, kernel) - mean_x.square()).clamp(min=0.0)
    variance_y = (_blur(y * y, kernel) - mean_y.square()).clamp(min=0.0)
    covariance = _blur(x * y, kernel) - mean_x * mean_y
    if settings.covariance == "sample":
        factor = window**2 / (window**2 - 1)
        variance_x, variance_y, covariance = variance_x * factor, variance_y * factor, covariance * factor
    return mean_x, mean_y, variance_x, variance_y, covariance


def _ratios(
    moments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], data_range: float
) -> tuple[Tensor, Tensor]:
    mean_x, mean_y, variance_x, variance_y, covariance = moments
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return luminance, structure


def _kernel(settings: SSIMSettings) -> Tensor:
    if settings.weights == "uniform":
        return torch.full((settings.window,), 1.0 / settings.window, dtype=torch.float64)
    positions = torch.arange(settings.window, dtype=torch.float64) - (settings.window - 1) / 2
    weights = torch.exp(-positions.square() / (2 * settings.sigma**2))
    return weights / weights.sum()


def _blur(x: Tensor, kernel: Tensor) -> Tensor:
    rows = F.conv2d(x.flatten(0, 1).unsqueeze(1), kernel.view(1, 1, -1, 1))  # (B 3, 1, H - window + 1, W)
    both = F.conv2d(rows, kernel.view(1, 1, 1, -1))
    return both.view(*x.shape[:2], *both.shape[-2:])


class SSIM:
    """Mean over pictures of each picture's SSIM: the protocol's, or an implementation by name."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: EvaluationProtocol, settings: SSIMSettings | None = None) -> None:
        self.protocol = protocol
        self.settings = settings or protocol.ssim
        self._values = Rows()

    @property
    def domain(self) -> Domain:
        """The form of the pictures that ``update`` takes."""
        return self.settings.domain

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both."""
        of_batches = self.settings.range_of_batches is not None
        self._values.add((ssim_of_ranges if of_batches else ssim)(real, fake, self.settings), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._values.merge(other._values)

    def compute(self) -> Score:
        """Mean over pictures, at most 1."""
        interval, size = self.protocol.interval, self.settings.range_of_batches
        table = self._values.table()
        values = table.tolist() if size is None else in_batches(table, size)
        return mean_score(values, resamples=interval.resamples, seed=interval.seed)


class MSSSIM:
    """Mean over pictures of each picture's MS-SSIM.

    Raises:
        NotComputedError: if the protocol's pictures are too small for its scales.
    """

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: EvaluationProtocol) -> None:
        needed = smallest_side(len(protocol.ms_ssim.scales))
        if protocol.resolution < needed:
            raise NotComputedError(
                f"pictures of at least {needed} pixels for MS-SSIM", "raise the resolution"
            )
        self.protocol = protocol
        self._values = Rows()

    @property
    def domain(self) -> Domain:
        """The form of the pictures that ``update`` takes."""
        return self.protocol.ms_ssim.domain

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both."""
        settings = self.protocol.ms_ssim
        self._values.add(ms_ssim(real, fake, weights=settings.scales, domain=settings.domain), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._values.merge(other._values)

    def compute(self) -> Score:
        """Mean over pictures, at most 1."""
        interval = self.protocol.interval
        return mean_score(self._values.table().tolist(), resamples=interval.resamples, seed=interval.seed)
