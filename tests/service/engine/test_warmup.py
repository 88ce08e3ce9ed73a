"""Warm-up: it measures what may be used, stops where nothing is won, and tells what jobs will take."""

import itertools
from pathlib import Path

import pytest
import torch

from service.engine.costs import Costs
from service.engine.messages import ModelSource
from service.engine.models import Models
from service.engine.warmup import Warmup, seconds_per_cost
from service.engine.worker import make_costs
from tests.service.engine.conftest import worker_settings


def source(loaded: Models, name: str) -> ModelSource:
    return next(item for item in loaded.settings.models if item.name == name)


def measured(loaded: Models, costs: Costs, *names: str) -> Costs:
    with torch.inference_mode():
        for name in names:
            model = loaded.pipelines[name] if name == "shapes" else loaded.tokenizers[name]
            pieces = list(Warmup(loaded, costs).pieces(source(loaded, name), model))
            assert pieces
    return costs


def test_everything_that_is_served_has_a_price(loaded: Models) -> None:
    costs = measured(loaded, make_costs(loaded.settings), "tiny", "shapes")
    for kind, pixels in (
        (("encode", "tiny"), 64 * 64),
        (("decode", "tiny"), 256 * 256),
        (("reconstruct", "tiny"), 64 * 64),
        (("step", "shapes"), 32 * 32),
    ):
        assert (costs.measured(kind, pixels, 1) or 0) > 0
        assert costs.paying(kind, pixels)[0] == 1
    whole = costs.measured(("reconstruct", "tiny"), 64 * 64, 1)
    parts = [costs.measured((kind, "tiny"), 64 * 64, 1) or 0 for kind in ("encode", "decode")]
    assert whole == pytest.approx(sum(parts))
    rates = seconds_per_cost(loaded, costs)
    assert rates.keys() == {
        ("EncodeJob", "tiny"), ("DecodeJob", "tiny"), ("ReconstructJob", "tiny"), ("GenerateJob", "shapes"),
    }  # fmt: skip
    assert all(rate > 0 for rate in rates.values())


def test_no_time_means_one_pass_each(loaded: Models, models: dict[str, Path]) -> None:
    hurried = Models(worker_settings(models, warmup_s=0.0), loaded.device, loaded.dtype, loaded.tokenizers)
    costs = measured(hurried, make_costs(hurried.settings), "tiny")
    assert costs.measured(("encode", "tiny"), 64 * 64, 1) is not None
    assert costs.measured(("encode", "tiny"), 64 * 64, 2) is None
    assert costs.paying(("encode", "tiny"), 64 * 64) == (1,)


@pytest.mark.parametrize(("growth", "expected"), [(0.0, [1, 2, 4, 8]), (1.0, [1, 2, 4])])
def test_larger_buckets_are_tried_while_they_pay(
    loaded: Models, monkeypatch: pytest.MonkeyPatch, growth: float, expected: list[int]
) -> None:
    """A pass costs 1 + growth (b - 1) seconds on the clock of this test."""
    passes: list[int] = []
    costs = Costs((1, 2, 4, 8), chosen=True, max_pixels=10**9, max_seconds=100.0)
    warmup = Warmup(loaded, costs)
    monkeypatch.setattr(warmup, "_measure", lambda run: run())

    def run(rows: int) -> float:
        passes.append(rows)
        return 1.0 + growth * (rows - 1)

    list(warmup._grow({("encode", "tiny"): {64: run}}, until=float("inf")))  # type: ignore[dict-item]
    assert passes == expected


def test_memory_that_does_not_hold_a_bucket_ends_the_search(loaded: Models) -> None:
    costs = Costs((1, 2, 4, 8), chosen=True, max_pixels=10**9, max_seconds=100.0)

    def run(rows: int) -> None:
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    list(Warmup(loaded, costs)._grow({("encode", "tiny"): {64: run}}, until=float("inf")))
    assert not costs.holds(("encode", "tiny"), 64, 4)
    assert costs.measured(("encode", "tiny"), 64, 4) is None


def test_it_can_be_done_between_other_work(loaded: Models) -> None:
    costs = make_costs(loaded.settings)
    pieces = Warmup(loaded, costs).pieces(source(loaded, "other"), loaded.tokenizers["other"])
    with torch.inference_mode():
        assert list(itertools.islice(pieces, 1)) == [None]
    assert costs.measured(("encode", "other"), 64 * 64, 1) is not None
    assert costs.measured(("decode", "other"), 64 * 64, 1) is None
