"""What a metric is, the record it gives, and its interval.

A metric is a pure function of the pictures it was given: ``update`` adds pairs, ``merge`` adds another part
of the same set, ``compute`` reads. Letters: B pictures in a batch, N in all, H W rows and columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from eval.protocols import Domain
from eval.weights import WeightsRecord


@dataclass(frozen=True, slots=True)
class Score:
    """One number and how sure it is.

    Attributes:
        value: the number.
        ci95: 95 % interval, (low, high), from a bootstrap over the pictures unless ``details`` tells another.
        num_images: pictures behind it.
        details: further numbers and remarks, by name.
        per_image: one value a picture in the order of their keys; empty where the metric belongs to the whole set.
    """

    value: float
    ci95: tuple[float, float]
    num_images: int
    details: Mapping[str, float | int | str] = field(default_factory=dict)
    per_image: tuple[float, ...] = ()


class Metric(Protocol):
    """``update(real, fake)`` / ``compute()``."""

    @property
    def higher_is_better(self) -> bool:
        """The direction of improvement."""
        ...

    @property
    def weights(self) -> tuple[WeightsRecord, ...]:
        """The weight files it reads; empty for most."""
        ...

    @property
    def domain(self) -> Domain:
        """The form of the pictures that it takes: ``uint8`` for most, else float about [-1, 1]."""
        ...

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both in the form of ``domain``.

        ``keys`` are the pictures' numbers in the whole set, for parts that are merged in any order.
        """
        ...

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw; the result is that of one metric that saw both."""
        ...

    def compute(self) -> Score:
        """The score of everything seen so far; ValueError if that was nothing."""
        ...


@runtime_checkable
class SetMetric(Metric, Protocol):
    """A metric of two sets that need not be pairs."""

    def update_real(self, pictures: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add reference pictures (B, 3, H, W)."""
        ...

    def update_fake(self, pictures: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add made pictures (B, 3, H, W)."""
        ...


def check_pair(real: Tensor, fake: Tensor, domain: Domain = "uint8") -> None:
    """ValueError unless both are (B, 3, H, W) of one shape in the domain's form: no metric guesses a range."""
    for name, x in (("real", real), ("fake", fake)):
        if domain == "uint8" and x.dtype != torch.uint8:
            raise ValueError(
                f"{name} must be uint8 pictures (0 to 255), got {x.dtype}: use eval.pixels.to_uint8"
            )
        if domain != "uint8" and not x.is_floating_point():
            raise ValueError(f"{name} must be floats about [-1, 1], got {x.dtype}: use eval.pixels.as_seen")
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"{name} must be (B, 3, H, W), got {tuple(x.shape)}")
    if real.shape != fake.shape:
        raise ValueError(f"real is {tuple(real.shape)}, fake {tuple(fake.shape)}: pairs have one shape")


def mean_score(
    values: Sequence[float],
    *,
    resamples: int,
    seed: int,
    details: Mapping[str, float | int | str] | None = None,
) -> Score:
    """The mean over pictures, its spread, and a bootstrap interval.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("no pictures were given to this metric")
    low, high = bootstrap_mean(values, resamples=resamples, seed=seed)
    spread = float(np.std(values)) if all(math.isfinite(value) for value in values) else math.inf
    return Score(
        value=math.fsum(values) / len(values),
        ci95=(low, high),
        num_images=len(values),
        details={"std": spread, **(details or {})},
        per_image=tuple(values),
    )


def bootstrap_mean(values: Sequence[float], *, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean, widened to the mean itself where so few values miss it.

    Source: Efron 1979, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7(1).
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if not np.isfinite(array).all():
        return (float(array.min()), mean)
    draw = np.random.default_rng(seed)
    means = [float(array[draw.integers(0, len(array), len(array))].mean()) for _ in range(resamples)]
    low, high = np.percentile(means, (2.5, 97.5))
    return (min(float(low), mean), max(float(high), mean))


def ratio_score(
    amounts: Sequence[float],
    counts: Sequence[float],
    *,
    resamples: int,
    seed: int,
    details: Mapping[str, float | int | str] | None = None,
) -> Score:
    """The sum of amounts over the sum of counts, one of each a picture, with a bootstrap interval over pictures.

    Raises:
        ValueError: if there are no pictures, or nothing was counted in any of them.
    """
    above, below = np.asarray(amounts, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if not len(below) or not below.sum() > 0:
        raise ValueError("nothing was counted in the pictures of this metric")
    value = float(above.sum() / below.sum())
    draw = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = draw.integers(0, len(below), len(below))
        if (total := below[rows].sum()) > 0:
            drawn.append(float(above[rows].sum() / total))
    low, high = np.percentile(drawn, (2.5, 97.5))
    interval = (min(float(low), value), max(float(high), value))
    return Score(value, interval, len(below), details=dict(details or {}))
