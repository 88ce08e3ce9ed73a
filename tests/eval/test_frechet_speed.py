"""The comparison of ways to the Frechet distance: all of them right at small width, ours nearest where singular."""

import pytest

from eval.frechet_speed import FrechetSpeedConfig, main, measure

SMALL = FrechetSpeedConfig(width=64, full=400, few=20, repeats=1)


def test_all_ways_agree_and_ours_is_truest_where_covariances_are_singular() -> None:
    cases = measure(SMALL)
    assert list(cases) == ["full rank", "singular"]
    for ways in cases.values():
        assert list(ways) == ["ours, from features", "ours, from covariances", "scipy sqrtm", "torchmetrics"]
        assert all(timing.seconds > 0 for timing in ways.values())
    assert all(timing.error < 1e-9 for timing in cases["full rank"].values())
    errors = {name: timing.error for name, timing in cases["singular"].items()}
    assert errors["ours, from features"] == 0.0
    assert errors["ours, from covariances"] <= min(errors["scipy sqrtm"], errors["torchmetrics"])


def test_command_prints_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    main(["width=32", "full=200", "few=10", "repeats=1"])
    text = capsys.readouterr().out
    assert "full rank (200 rows)" in text
    assert text.count("torchmetrics") == 2
    with pytest.raises(SystemExit):
        main(["width=32", "full=20"])
    assert "below and above width=32" in capsys.readouterr().err
