"""Quantiles and rates of samples made here."""

import math

import numpy as np
import pytest

from eval.serving.latencies import Outcome, quantile, worst
from eval.serving.load import Sample


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99, 1.0])
def test_quantiles_are_those_of_numpy(share: float) -> None:
    values = list(np.random.default_rng(0).normal(size=101))
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)))
    assert quantile([3.0], share) == 3.0
    assert math.isnan(quantile([], share))


def test_only_what_was_due_in_the_window_counts_and_rates_go_by_arrival() -> None:
    samples = [
        Sample(0.5, 0.6, 200, 10),  # due before the window, came in it
        Sample(1.0, 0.1, 200, 10, batch_size=4),
        Sample(2.0, 0.3, 200, 10, batch_size=2),
        Sample(2.5, 1.0, 200, 10),  # due in the window, came after it
        Sample(2.6, 0.002, 429, 0),
        Sample(2.7, 0.004, 503, 0),
        Sample(2.8, 9.0, 0, 0),
        Sample(3.0, 0.1, 200, 10),  # due after it
    ]
    outcome = Outcome.of(samples, 1.0, 3.0)
    assert (outcome.sent, outcome.answered, outcome.refused, outcome.failed, outcome.unanswered) == (
        6,
        3,
        1,
        1,
        1,
    )
    assert outcome.per_s == 3 / 2
    assert outcome.p50_ms == pytest.approx(300)
    assert outcome.refusal_p50_ms == pytest.approx(2)
    assert outcome.batch_size == 3


def test_the_worst_of_what_was_not_measured_is_unknown() -> None:
    assert worst([1.0, 3.0, 2.0]) == 3.0
    assert math.isnan(worst([1.0, math.nan, 2.0]))
    assert math.isnan(worst([math.nan, 5.0]))


def test_no_samples() -> None:
    outcome = Outcome.of([], 0.0, 1.0)
    assert (outcome.sent, outcome.per_s, outcome.batch_size) == (0, 0.0, 0.0)
    assert math.isnan(outcome.p99_ms)
