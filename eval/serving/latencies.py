"""What samples of a load say: quantiles and rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.serving.load import Sample


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, linear in between; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def worst(values: Sequence[float]) -> float:
    """The largest; NaN if one of them is: what was not measured cannot be known to be smaller."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Samples of one load after its warm-up.

    Attributes:
        sent: requests that were due in the window.
        answered: of them, those with status 200.
        refused: with status 429.
        failed: with any other status.
        unanswered: without an answer in time.
        per_s: answers with status 200 that came in the window, a second.
        p50_ms, p99_ms: of those answered; NaN of none.
        refusal_p50_ms, refusal_p99_ms: of those refused; NaN of none.
        batch_size: mean that the answers tell; 0 where they tell none.
    """

    sent: int
    answered: int
    refused: int
    failed: int
    unanswered: int
    per_s: float
    p50_ms: float
    p99_ms: float
    refusal_p50_ms: float
    refusal_p99_ms: float
    batch_size: float

    @classmethod
    def of(cls, samples: Sequence[Sample], warmup_s: float, seconds: float) -> Outcome:
        """Over the window from ``warmup_s`` to ``seconds`` after the start.

        Rates count answers by when they came, so that work begun before the window and after it weigh the same.
        """
        due = [sample for sample in samples if warmup_s <= sample.at < seconds]
        good = [sample for sample in due if sample.status == 200]
        refused = [1000 * sample.latency_s for sample in due if sample.status == 429]
        came = sum(
            1
            for sample in samples
            if sample.status == 200 and warmup_s <= sample.at + sample.latency_s < seconds
        )
        batches = [sample.batch_size for sample in good if sample.batch_size]
        latencies = [1000 * sample.latency_s for sample in good]
        return cls(
            sent=len(due),
            answered=len(good),
            refused=len(refused),
            failed=sum(1 for sample in due if sample.status not in (0, 200, 429)),
            unanswered=sum(1 for sample in due if sample.status == 0),
            per_s=came / (seconds - warmup_s),
            p50_ms=quantile(latencies, 0.5),
            p99_ms=quantile(latencies, 0.99),
            refusal_p50_ms=quantile(refused, 0.5),
            refusal_p99_ms=quantile(refused, 0.99),
            batch_size=sum(batches) / len(batches) if batches else 0.0,
        )
