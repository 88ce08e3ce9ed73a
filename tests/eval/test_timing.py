"""Calls take turns, and quantiles are what they say."""

import pytest
import torch
from torch import nn

from eval.timing import Duration, peak_memory_mib, peak_resident_mib, processor_ms, quantile, take_turns

CPU = torch.device("cpu")


def test_calls_take_turns() -> None:
    made: list[str] = []
    durations = take_turns([lambda: made.append("a"), lambda: made.append("b")], 3, 1, CPU)
    assert made == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert [len(times) for times in durations] == [3, 3]


def test_quantiles() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([0.0, 1.0], 0.95) == pytest.approx(0.95)


def test_processor_time_is_that_of_the_processor() -> None:
    assert processor_ms([Duration(1.0, 0.002), Duration(1.0, 0.004), Duration(9.0, 0.003)]) == pytest.approx(
        3.0
    )
    assert processor_ms([Duration(1.0, None)]) is None


def test_memory_of_a_process_and_of_no_gpu() -> None:
    assert peak_memory_mib(lambda: None, nn.Linear(2, 2), CPU) is None
    assert peak_resident_mib() > 50  # torch alone takes more
