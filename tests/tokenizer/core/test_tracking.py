"""Means are means; grids are laid out as said; files appear."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from tokenizer.core.tracking import SCALARS, Averages, Tracker, append_scalars, grid, read_scalars


def test_averages() -> None:
    averages = Averages()
    averages.add({"a": 1.0, "b": torch.tensor(4.0)})
    averages.add({"a": 3.0})
    assert averages.read() == {"a": 2.0, "b": 4.0}
    assert averages.read() == {}


def test_grid_puts_rows_below_each_other() -> None:
    black, red = torch.zeros(3, 3, 4, 6, dtype=torch.uint8), torch.zeros(3, 3, 4, 6, dtype=torch.uint8)
    red[:, 0] = 255
    picture = grid([black, red], gap=1)
    assert tuple(picture.shape) == (2 * 6, 3 * 8, 3)
    assert picture[1, 1].tolist() == [0, 0, 0]
    assert picture[7, 1].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [255, 255, 255]


def test_a_run_leaves_scalars_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker(tmp_path, main=True) as tracker:
        tracker.begin("phase", 0, 10)
        tracker.advance(10)
        tracker.scalars(10, {"loss": 0.5}, show=["loss"])
        file = tracker.picture(10, "grid", torch.zeros(4, 5, 3, dtype=torch.uint8))
    assert file is not None
    with Image.open(file) as picture:
        assert picture.size == (5, 4)
    assert list((tmp_path / "tensorboard").iterdir())
    assert read_scalars(tmp_path / SCALARS) == [{"images": 10, "loss": 0.5}]
    assert "img" in capsys.readouterr().err


def test_scalars_survive_interruptions(tmp_path: Path) -> None:
    """A resumed run writes its positions again, a killed one leaves half a line, and losses may be NaN."""
    file = tmp_path / SCALARS
    assert read_scalars(file) == []
    append_scalars(file, 10, {"loss": 3.0})
    append_scalars(file, 20, {"loss": 2.0})
    append_scalars(file, 20, {"validation": 7.0})
    file.write_text(file.read_text() + '{"images": 30, "lo')
    append_scalars(file, 20, {"loss": 1.5})
    append_scalars(file, 30, {"loss": float("nan")})
    entries = read_scalars(file)
    assert entries[:3] == [
        {"images": 10, "loss": 3.0},
        {"images": 20, "loss": 1.5},
        {"images": 20, "validation": 7.0},
    ]
    assert math.isnan(entries[3]["loss"])
    assert "NaN" not in file.read_text()


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker(tmp_path / "run", main=False) as tracker:
        tracker.begin("phase", 0, 10)
        tracker.advance(10)
        tracker.scalars(10, {"loss": 0.5})
        assert tracker.picture(10, "grid", torch.zeros(4, 5, 3, dtype=torch.uint8)) is None
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "run").exists()
