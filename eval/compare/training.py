"""Each member is trained by its own ``python -m tokenizer.train``: one that fails takes nobody along.

A member's folder holds ``preset.yaml`` (all settings as they were run), ``train.log``, ``run/`` (the training
run) and, where the budget is in seconds, ``budget.json`` (the images that fit into them).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eval.compare.budget import at_budget, images_in
from eval.compare.settings import CompareConfig
from eval.machine import ROOT
from eval.report import write_text
from tokenizer.core import locks
from tokenizer.core.checkpoint import RunFolder, read_config
from tokenizer.core.run import refuse_changes
from tokenizer.core.tracking import SCALARS, read_scalars
from tokenizer.training import TrainConfig

WARM_UP_STEPS = 8
SPEED = "speed/images_per_second"
# What may differ when a comparison goes on: where things lie, and how often a run speaks.
FREE = ("out", "data.path", "data.validation", "data.num_workers", "log_every", "save_every")
Progress = Callable[[float], None]


class TrainingFailedError(Exception):
    """A member's training ended without a tokenizer; the text says why, in the trainer's own words."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training run.

    Attributes:
        folder: the last checkpoint, with latent statistics.
        images: it was trained on.
        seconds: of the training loop.
        images_per_s: of the training loop, its first entry left out.
    """

    folder: Path
    images: int
    seconds: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class MemberFolder:
    """Where a member's files lie."""

    path: Path

    @property
    def preset(self) -> Path:
        """Settings of the run, in full."""
        return self.path / "preset.yaml"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.path / "run"

    @property
    def log(self) -> Path:
        """What the trainer said."""
        return self.path / "train.log"

    @property
    def budget(self) -> Path:
        """The images that fit into the seconds, once measured."""
        return self.path / "budget.json"

    def finished(self) -> Trained | None:
        """The member's tokenizer, if its training is complete."""
        if not self.preset.is_file():
            return None
        train = TrainConfig.parse(yaml.safe_load(self.preset.read_text()))
        total = sum(phase.span for phase in train.phases)
        latest = RunFolder(self.run).latest()
        if latest is None or int(latest.name) < total or not _has_statistics(latest):
            return None
        entries = [entry for entry in read_scalars(self.run / SCALARS) if SPEED in entry]
        steps = _durations(entries)
        late = steps[1:] or steps
        seconds = sum(duration for _, duration in steps)
        return Trained(latest, total, seconds, sum(count for count, _ in late) / sum(s for _, s in late))


def check_unchanged(folder: MemberFolder, train: TrainConfig, config: CompareConfig, label: str) -> None:
    """ValueError if the folder holds the member's run under other settings.

    The images of a budget in seconds are measured, so these do not count as a setting.
    """
    if not folder.preset.is_file():
        return
    saved = yaml.safe_load(folder.preset.read_text())
    images = config.images or _budget_of(folder, config) or sum(phase["images"] for phase in saved["phases"])
    now = at_budget(train, config, folder.run, images).model_dump(mode="json")
    try:
        refuse_changes(saved, now, FREE)
    except ValueError as error:
        raise ValueError(f"member {label}: {error}") from None


def train_member(
    folder: MemberFolder, train: TrainConfig, config: CompareConfig, progress: Progress
) -> Trained:
    """Train a member to the end of its budget, from wherever it stopped; ``progress`` hears the share that is done.

    Raises:
        TrainingFailedError: with the trainer's last words.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    images = config.images or _budget_of(folder, config) or _measure_budget(folder, train, config)
    settings = at_budget(train, config, folder.run, images)
    write_text(folder.preset, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    total = sum(phase.span for phase in settings.phases)
    _run(folder.preset, folder.log, folder.run / SCALARS, lambda done: progress(done / total))
    trained = folder.finished()
    if trained is None:
        raise TrainingFailedError(f"the trainer ended well, but {folder.run} holds no finished run")
    return trained


def _budget_of(folder: MemberFolder, config: CompareConfig) -> int | None:
    """What was measured for the seconds of this comparison."""
    if not folder.budget.is_file():
        return None
    saved = json.loads(folder.budget.read_text())
    if saved["seconds"] != config.seconds:
        raise ValueError(
            f"{folder.path} was trained for seconds={saved['seconds']}, not {config.seconds}: "
            "go on with these, or give another out=FOLDER"
        )
    return int(saved["images"])


def _measure_budget(folder: MemberFolder, train: TrainConfig, config: CompareConfig) -> int:
    """Run a few steps of every phase beside the real run, and see how many images fit into the seconds."""
    assert config.seconds is not None
    place = folder.path / "warm-up"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    phases = len(train.phases)
    settings = at_budget(train, config, place / "run", phases * WARM_UP_STEPS * config.batch)
    tree = settings.model_dump(mode="json")
    for phase in tree["phases"]:
        phase["images"] = WARM_UP_STEPS * config.batch
        if phase["adversary"] is not None:
            phase["adversary"]["start_images"] = 0  # the steps that a long run has most of
    tree |= {"log_every": config.batch, "save_every": 0, "statistics_images": 1}
    write_text(place / "preset.yaml", yaml.safe_dump(tree, sort_keys=False))
    _run(place / "preset.yaml", folder.log, place / "run" / SCALARS, lambda images: None)
    entries = [entry for entry in read_scalars(place / "run" / SCALARS) if SPEED in entry]
    durations = _durations(entries)
    rates = []
    for index in range(phases):
        steady = durations[index * WARM_UP_STEPS + 2 : (index + 1) * WARM_UP_STEPS]  # the first two warm up
        rates.append(sum(count for count, _ in steady) / sum(seconds for _, seconds in steady))
    images = images_in(config.seconds, [phase.span for phase in train.phases], rates, config.batch)
    write_text(
        folder.budget,
        json.dumps({"seconds": config.seconds, "images": images, "images_per_s": rates}) + "\n",
    )
    shutil.rmtree(place)
    return images


def _run(preset: Path, log: Path, scalars: Path, progress: Callable[[int], None]) -> None:
    """One trainer process, watched through what it logs."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())}
    with _alone(log.with_name("lock")) as lock, log.open("ab") as stream:
        begin = stream.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "tokenizer.train", str(preset)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            pass_fds=[lock],
        )
        with _ended(process):
            while process.poll() is None:
                progress(_position(scalars))
                time.sleep(0.2)
    progress(_position(scalars))
    if process.returncode:
        with log.open("rb") as stream:
            stream.seek(begin)
            text = stream.read().decode(errors="replace")
        raise TrainingFailedError(last_words(text, process.returncode))


@contextmanager
def _alone(file: Path) -> Iterator[int]:
    """Hold a lock that the trainer holds too, so that a comparison that was killed outright and started again does
    not train beside its own orphan.
    """
    descriptor = locks.take(file)
    if descriptor is None:
        raise TrainingFailedError(
            f"another process is training in {file.parent}: wait until it ends, then give the command again"
        )
    try:
        yield descriptor
    finally:
        locks.release(descriptor)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Whatever happens to us, the trainer does not outlive us unless we are killed outright."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_words(text: str, status: int) -> str:
    """Why a trainer ended, from its log: the sentence that it refused with, or the end of the traceback."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    refusals = [index for index, line in enumerate(lines) if line.startswith("tokenizer.train: ")]
    if refusals:
        return " ".join(lines[refusals[-1] :]).removeprefix("tokenizer.train: ")
    if status < 0:
        return f"killed by signal {signal.Signals(-status).name}"
    said = [line for line in lines if "img/s" not in line and "s/img" not in line]
    return said[-1] if said else f"exit status {status}, without a word"


def _import_path() -> list[str]:
    given = os.environ.get("PYTHONPATH")
    return [str(ROOT), *([given] if given else [])]


def _position(scalars: Path) -> int:
    entries = read_scalars(scalars)
    return int(entries[-1]["images"]) if entries else 0


def _has_statistics(checkpoint: Path) -> bool:
    parts: Sequence[dict[str, Any]] = read_config(checkpoint)["spec"]["parts"]  # JSON
    return all(part["mean"] is not None for part in parts)


def _durations(entries: Sequence[dict[str, float]]) -> list[tuple[float, float]]:
    """(images, seconds) of each entry of the log; a speed belongs to the images since the entry before."""
    before, found = 0.0, []
    for entry in entries:
        found.append((entry["images"] - before, (entry["images"] - before) / entry[SPEED]))
        before = entry["images"]
    return found
