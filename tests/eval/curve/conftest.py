"""A record made by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from eval.curve.record import CurveReport


def point(tokens: float, psnr: float, **extra: Any) -> dict[str, Any]:
    """A point of a member."""
    return {"tokens": tokens, "bits_per_pixel": tokens / 64, "psnr": psnr, "patch_frechet": 0.002} | extra


@pytest.fixture
def report(make_report: Callable[..., Any]) -> CurveReport:
    """One member whose quality rises, one whose falls once, one that failed; a fixed one beside them."""
    base = make_report()
    chosen = point(12.0, 20.5, quality=20.0, reached=0.75, spread=[8, 16])
    return CurveReport.parse(
        {
            "command": "python -m eval.curve some comparison=DIR",
            "budget": "64 images",
            "resolution": 32,
            "protocol": base.protocol,
            "data": base.data,
            "members": (
                {"label": "rising", "points": (point(8, 19.0), point(16, 21.0)), "chosen": (chosen,)},
                {"label": "falling", "points": (point(8, 19.0), point(16, 18.0), point(24, 19.5))},
                {"label": "<lost>", "why": "it was not trained"},
            ),
            "beside": ({"label": "fixed", "tokens": 16, "bits_per_pixel": 0.25, "psnr": 20.0},),
            "references": {
                "floor": (
                    {"bits_per_pixel": 0.2, "psnr": 18.0, "setting": ""},
                    {"bits_per_pixel": 0.4, "psnr": 19.0, "setting": ""},
                    {"bits_per_pixel": 40.0, "psnr": 50.0, "setting": ""},
                )
            },
            "machine": base.machine,
            "commit": None,
            "seconds": 1.0,
        }
    )
