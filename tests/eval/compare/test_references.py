"""References keep to the budget, and say so where they cannot."""

from collections.abc import Callable

import pytest
import torch

from eval.compare.pictures import HeldOut
from eval.compare.references import References
from eval.compare.settings import CompareConfig
from eval.metrics.psnr import decibels, mean_squared_error


@pytest.fixture
def references(config: Callable[..., CompareConfig]) -> References:
    settings = config(metrics=["psnr", "ssim"])
    return References(settings, HeldOut.read(settings), torch.device("cpu"))


@pytest.mark.parametrize("kind", ["floor", "jpeg", "webp"])
def test_rows_keep_to_their_budget_and_rise_with_it(references: References, kind: str) -> None:
    found = [references.at(kind, budget).row for budget in (6000.0, 9000.0, 20_000.0)]  # type: ignore[arg-type]
    for row in found:
        assert row.bits is not None
        assert row.bits <= row.budget
        assert row.numbers.values["bits_per_pixel"] == pytest.approx(row.bits / 32**2)
    psnr = [row.numbers.values["psnr"] for row in found]
    assert psnr == sorted(psnr)


def test_a_codec_that_is_larger_at_its_lowest_quality_says_so(references: References) -> None:
    found = references.at("jpeg", 640.0)
    assert found.shown is None
    assert found.row.bits is None
    assert found.row.numbers.values == {}
    assert "headers included: more than 640" in found.row.remark


def test_the_row_is_that_of_the_pictures_shown(references: References) -> None:
    found = references.at("floor", 6000.0)
    assert found.shown is not None
    real = references.held_out.real[list(references.held_out.shown)]
    assert found.shown.shape == real.shape
    psnr = float(decibels(mean_squared_error(real, found.shown)).mean())
    assert psnr == pytest.approx(found.row.numbers.values["psnr"], abs=6)


def test_curves_rise(references: References) -> None:
    for kind in ("floor", "jpeg", "webp"):
        curve = references.curve(kind, [2000.0, 8000.0])  # type: ignore[arg-type]
        assert len(curve) > 3
        ordered = sorted(curve, key=lambda point: point.bits_per_pixel)
        assert ordered[-1].psnr > ordered[0].psnr + 3
