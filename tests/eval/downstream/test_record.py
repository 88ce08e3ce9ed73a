"""The record: rows by what their generators make, ranks by either distance, and JSON and back."""

import json
from collections.abc import Callable
from typing import Any

from eval.downstream.record import DownstreamReport, PatchNumbers


def row(label: str, generation: float | None, reconstruction: float | None) -> dict[str, Any]:
    def numbers(mean: float | None) -> dict[str, Any] | None:
        return None if mean is None else {"mean": mean, "scales": {8: mean, 16: mean}}

    status = "failed" if generation is None else "done"
    found = {"generation": numbers(generation), "reconstruction": numbers(reconstruction)}
    return {"label": label, "source": label, "status": status, "why": "" if generation else "broke"} | found


def report(make_report: Callable[..., Any]) -> DownstreamReport:
    base = make_report()
    return DownstreamReport.parse(
        {
            "command": "python -m eval.downstream tiny",
            "resolution": 32,
            "images": 16,
            "num_samples": 6,
            "sampling": "2 euler steps, no guidance",
            "training_pictures": {"count": 8, "sha256": "ab" * 32},
            "held_out_pictures": {"count": 4, "sha256": "cd" * 32},
            "num_reference": 8,
            "num_held_out": 4,
            "photographs": PatchNumbers(mean=0.001, scales={8: 0.001, 16: 0.001}),
            "members": (row("sharp", 0.03, 0.001), row("broken", None, None), row("smooth", 0.02, 0.004)),
            "machine": base.machine,
            "commit": None,
            "seconds": 1.0,
        }
    )


def test_the_best_generator_comes_first_whatever_reconstructs_best(make_report: Callable[..., Any]) -> None:
    found = report(make_report)
    assert [item.label for item in found.by_generation()] == ["smooth", "sharp", "broken"]
    ranks = {
        item.label: (found.rank(item, "generation"), found.rank(item, "reconstruction"))
        for item in found.members
    }
    assert ranks == {"sharp": (2, 1), "smooth": (1, 2), "broken": (None, None)}


def test_it_comes_back_from_json(make_report: Callable[..., Any]) -> None:
    found = report(make_report)
    assert DownstreamReport.parse(json.loads(found.to_text())) == found
    assert "not FID" in found.feature_space
