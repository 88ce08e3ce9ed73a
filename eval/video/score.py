"""What a metric of clips is, and the record it gives.

``update`` takes the next frames of a clip, so that a clip never needs to be in memory whole unless the metric itself
needs that. Letters: T frames, H W rows and columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from eval.metrics.score import bootstrap_mean, check_pair
from eval.protocols import Domain
from eval.protocols.settings import IntervalSettings
from eval.weights import WeightsRecord


@dataclass(frozen=True, slots=True)
class ClipScore:
    """One number and what stands behind it.

    Attributes:
        value: the number.
        ci95: 95 % interval, from a bootstrap over the clips.
        num_clips: behind it.
        details: further numbers and remarks.
        per_clip: one value a clip; empty where the metric belongs to the whole set.
        per_frame: the values of each clip's frames; NaN where a frame has none.
    """

    value: float
    ci95: tuple[float, float]
    num_clips: int
    details: Mapping[str, float | int | str] = field(default_factory=dict)
    per_clip: tuple[float, ...] = ()
    per_frame: tuple[tuple[float, ...], ...] = ()


class ClipMetric(Protocol):
    """``update(real, fake, clip)`` / ``compute()``."""

    @property
    def higher_is_better(self) -> bool:
        """The direction of improvement."""
        ...

    @property
    def weights(self) -> tuple[WeightsRecord, ...]:
        """The weight files it reads."""
        ...

    @property
    def domain(self) -> Domain:
        """The form of the frames that it takes."""
        ...

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add the next frames of a clip, (T, 3, H, W) both; clips come one after another."""
        ...

    def compute(self) -> ClipScore:
        """The score of all clips; ValueError if there was none."""
        ...


class FrameValues:
    """Values of frames, clip after clip."""

    def __init__(self) -> None:
        self._clips: list[list[Tensor]] = []
        self._number: int | None = None

    def add(self, values: Tensor, clip: int) -> None:
        """Values (T,) of the next frames of ``clip``.

        Raises:
            ValueError: if a clip comes back after another began.
        """
        if clip != self._number:
            if self._number is not None and clip < self._number:
                raise ValueError(f"clip {clip} after clip {self._number}: clips come one after another")
            self._number = clip
            self._clips.append([])
        self._clips[-1].append(values.double().cpu())

    def clips(self) -> list[Tensor]:
        """One tensor (T,) a clip, float64.

        Raises:
            ValueError: if nothing was added.
        """
        if not self._clips:
            raise ValueError("no clips were given to this metric")
        return [torch.cat(parts) for parts in self._clips]


def check_frames(real: Tensor, fake: Tensor, domain: Domain) -> None:
    """ValueError unless both are frames (T, 3, H, W) of one shape in the domain's form."""
    check_pair(real, fake, domain)


def clip_score(
    per_clip: Sequence[float],
    per_frame: Sequence[Tensor],
    interval: IntervalSettings,
    details: Mapping[str, float | int | str] | None = None,
) -> ClipScore:
    """The mean over clips, its spread and a bootstrap interval; the mean over all frames stands beside it."""
    low, high = bootstrap_mean(per_clip, resamples=interval.resamples, seed=interval.seed)
    frames = [value for values in per_frame for value in values.tolist() if not math.isnan(value)]
    finite = all(math.isfinite(value) for value in per_clip)
    told: dict[str, float | int | str] = {
        "std": float(torch.tensor(per_clip, dtype=torch.float64).std(correction=0)) if finite else math.inf,
        "frames": len(frames),
        "mean_of_frames": math.fsum(frames) / len(frames) if frames else math.nan,
    }
    return ClipScore(
        value=math.fsum(per_clip) / len(per_clip),
        ci95=(low, high),
        num_clips=len(per_clip),
        details=told | dict(details or {}),
        per_clip=tuple(per_clip),
        per_frame=tuple(tuple(values.tolist()) for values in per_frame),
    )
