"""Slices by list and by folder: their own means, their own intervals."""

from pathlib import Path

import pytest

from eval.errors import EvaluationError
from eval.metrics import Score
from eval.metrics.score import mean_score
from eval.protocols import canon_v1
from eval.report import Computed, NotComputed
from eval.slices import members, sliced

NAMES = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "dogs.png"]
VALUES = [20.0, 22.0, 30.0, 36.0, 10.0]


def score() -> tuple[dict[str, Computed | NotComputed], dict[str, Score]]:
    made = mean_score(VALUES, resamples=100, seed=0)
    entry = Computed(value=made.value, ci95=made.ci95, num_images=5, higher_is_better=True)
    whole = Computed(value=3.0, ci95=(2.0, 4.0), num_images=5, higher_is_better=False)
    entries: dict[str, Computed | NotComputed] = {
        "psnr": entry, "rfid": whole, "lpips_vgg": NotComputed(not_computed="a", put="b"), "x_unverified": entry
    }  # fmt: skip
    return entries, {"psnr": made, "rfid": Score(3.0, (2.0, 4.0), 5), "x": made}


def test_lists_and_folders(tmp_path: Path) -> None:
    listed = tmp_path / "text.txt"
    listed.write_text("dog/1.png\n\ncat/0.png\nnot/there.png\n")
    assert members({"text": str(listed), "dogs": "dog", "cats": "cat/"}, NAMES) == {
        "text": [0, 3], "dogs": [2, 3], "cats": [0, 1]
    }  # fmt: skip


def test_each_slice_has_the_mean_and_interval_of_its_pictures() -> None:
    entries, scores = score()
    protocol = canon_v1(32, "fail")
    found = sliced({"dogs": "dog"}, NAMES, entries, scores, protocol)
    assert list(found["dogs"]) == ["psnr", "x_unverified"]
    psnr = found["dogs"]["psnr"]
    expected = mean_score([30.0, 36.0], resamples=protocol.interval.resamples, seed=protocol.interval.seed)
    assert (psnr.value, psnr.ci95, psnr.num_images) == (33.0, expected.ci95, 2)
    assert psnr.higher_is_better


def test_a_slice_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    empty = tmp_path / "faces.txt"
    empty.write_text("nobody.png\n")
    with pytest.raises(EvaluationError, match=r"slices\.faces: none of the 1 names"):
        members({"faces": str(empty)}, NAMES)
    with pytest.raises(EvaluationError, match=r"slices\.birds: bird is neither"):
        members({"birds": "bird"}, NAMES)
