"""``kill -9`` at random points, in one process and in two, changes no number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.errors import EvaluationError
from eval.survival import KILLED, WHOLE, SurvivalConfig, compare, run

ROOT = Path(__file__).parents[2]
SEED = 20


@pytest.fixture
def many_pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(SEED)
    for index in range(40):
        coarse = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    (folder / "17.png").write_bytes(b"no picture")
    return folder


@pytest.mark.slow
def test_numbers_are_those_of_a_run_that_was_left_alone(
    tokenizer_folder: Path, many_pictures: Path, tmp_path: Path
) -> None:
    """Four of the ten kills that `python -m eval.survival` makes by itself."""
    options = {
        "tokenizer": tokenizer_folder,
        "data.path": many_pictures,
        "data.resolution": 32,
        "data.on_corrupt": "skip",
        "also": "[dc-ae]",
        "metrics": "[psnr,ssim]",
        "batch_size": 2,
        "shard_images": 2,
        "gallery": 1,
        "device": "cpu",
        "kills": 4,
        "kill_seed": SEED,
        "out": tmp_path / "out",
    }
    done = subprocess.run(
        [sys.executable, "-m", "eval.survival", *(f"{key}={value}" for key, value in options.items())],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    log = tmp_path / "out" / KILLED / "log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    assert done.stdout.count("kill ") == 4
    assert "2 processes" in done.stdout
    assert f"kill_seed={SEED}: the same numbers" in done.stdout
    for folder in (WHOLE, KILLED):
        report = json.loads((tmp_path / "out" / folder / "dc-ae" / "report.json").read_text())
        assert (report["num_images"], len(report["data"]["skipped"])) == (39, 1)


def test_other_numbers_are_told_and_other_times_are_not(tmp_path: Path) -> None:
    report = {"metrics": {"psnr": 30.0}, "images_per_s": 1.0, "speed": {}, "machine": "a", "commit": None}
    for name, changes in {"a": {}, "b": {"images_per_s": 2.0, "machine": "b"}}.items():
        (tmp_path / name / "more").mkdir(parents=True)
        for folder in (tmp_path / name, tmp_path / name / "more"):
            (folder / "report.json").write_text(json.dumps(report | changes))
            (folder / "per_image.csv").write_text("file,psnr\na,30\n")
    a, b = tmp_path / "a", tmp_path / "b"
    assert compare(a, b) == []
    (b / "more" / "report.json").write_text(json.dumps(report | {"metrics": {"psnr": 30.000001}}))
    (b / "per_image.csv").unlink()
    (b / "parts").mkdir()
    assert compare(a, b) == ["more/report.json differs", "per_image.csv differs", "parts is left"]


def test_an_earlier_trial_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / WHOLE).mkdir()
    config = SurvivalConfig.parse({"tokenizer": "demo", "data": {"path": "pictures"}, "out": tmp_path})
    with pytest.raises(EvaluationError, match="holds an earlier trial"):
        run(config)
