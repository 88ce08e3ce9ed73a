"""Members train in processes of their own: resumable, stoppable, and their last words are kept."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.compare.budget import at_budget, read_preset
from eval.compare.settings import CompareConfig
from eval.compare.training import (
    MemberFolder,
    TrainingFailedError,
    check_unchanged,
    last_words,
    train_member,
)
from eval.machine import ROOT
from tokenizer.core.tracking import SCALARS, append_scalars
from tokenizer.loading import load

Make = Callable[..., CompareConfig]


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("warning\ntokenizer.train: no tokenizer 'x'\nthere are y\n", 2, "no tokenizer 'x' there are y"),
        (
            "1/1 train: 5%| 3/64 [00:01<00:02, 8.1img/s]\rTraceback\nRuntimeError: boom\n",
            1,
            "RuntimeError: boom",
        ),
        ("", 1, "exit status 1, without a word"),
        ("half", -9, "killed by signal SIGKILL"),
    ],
)
def test_last_words(text: str, status: int, expected: str) -> None:
    assert last_words(text, status) == expected


def test_other_settings_are_refused_by_name(config: Make, tmp_path: Path) -> None:
    settings = config()
    train = read_preset(settings.members[0])
    folder = MemberFolder(tmp_path / "micro")
    check_unchanged(folder, train, settings, "micro")  # nothing there yet
    folder.path.mkdir()
    saved = at_budget(train, settings, folder.run, 64).model_dump(mode="json")
    folder.preset.write_text(yaml.safe_dump(saved))
    check_unchanged(folder, train, settings, "micro")
    other = train.model_copy(update={"optim": train.optim.model_copy(update={"lr": 0.5})})
    with pytest.raises(ValueError, match=r"member micro: .*optim\.lr=0\.005, not 0\.5"):
        check_unchanged(folder, other, settings, "micro")


def test_speed_is_that_of_the_loop_without_its_start(
    config: Make, tmp_path: Path, tokenizer_folder: Path
) -> None:
    settings = config(images=40)
    folder = MemberFolder(tmp_path / "member")
    assert folder.finished() is None
    checkpoint = folder.run / "checkpoints" / f"{40:012d}"
    checkpoint.parent.mkdir(parents=True)
    run = at_budget(read_preset(settings.members[0]), settings, folder.run, 40)
    folder.preset.write_text(yaml.safe_dump(run.model_dump(mode="json")))
    assert folder.finished() is None
    checkpoint.symlink_to(tokenizer_folder)
    (folder.run / "LATEST").write_text(checkpoint.name)
    for images, speed in ((8, 1.0), (16, 4.0), (40, 6.0)):
        append_scalars(folder.run / SCALARS, images, {"speed/images_per_second": speed})
        append_scalars(folder.run / SCALARS, images, {"validation/psnr": 20.0})
    trained = folder.finished()
    assert trained is not None
    assert (trained.images, trained.seconds) == (40, 8 / 1 + 8 / 4 + 24 / 6)
    assert trained.images_per_s == pytest.approx(32 / (8 / 4 + 24 / 6))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_an_interrupted_member_goes_on_and_its_trainer_ends_with_it(
    config: Make, tree: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    settings = tree(images=4000, only=["micro"])
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(settings))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "eval.compare", str(tmp_path / "compare.yaml")]
    folder = MemberFolder(tmp_path / "out/members/micro")
    first = folder.run / "checkpoints" / f"{1000:012d}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 900
        while not first.exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert folder.finished() is None
    seen = (folder.run / SCALARS).read_text().splitlines()
    shares: list[float] = []
    parsed = CompareConfig.parse(settings)
    trained = train_member(folder, read_preset(parsed.members[0]), parsed, shares.append)
    assert trained.images == 4000
    assert load(trained.folder).spec.has_statistics
    again = (folder.run / SCALARS).read_text().splitlines()[len(seen) :]
    assert min(json.loads(line)["images"] for line in again) > 1000  # not from the start
    assert shares[-1] == 1.0


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_a_budget_in_seconds_is_measured_once_and_kept(config: Make, tmp_path: Path) -> None:
    settings = config(images=None, seconds=2.0)
    folder = MemberFolder(tmp_path / "member")
    train = read_preset(settings.members[1])
    trained = train_member(folder, train, settings, lambda share: None)
    budget = json.loads(folder.budget.read_text())
    assert len(budget["images_per_s"]) == 2
    assert trained.images == budget["images"]
    assert 0.2 < trained.seconds < 20
    check_unchanged(folder, train, settings, "member")
    with pytest.raises(ValueError, match=r"seconds=2\.0, not 3\.0"):
        check_unchanged(folder, train, config(images=None, seconds=3.0), "member")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_two_comparisons_do_not_train_one_member(config: Make, tmp_path: Path) -> None:
    settings = config()
    folder = MemberFolder(tmp_path / "member")
    folder.path.mkdir()
    with (folder.path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TrainingFailedError, match="another process is training"):
            train_member(folder, read_preset(settings.members[0]), settings, lambda share: None)
