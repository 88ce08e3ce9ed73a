"""Training images/s of our step against the step of diffusers' own autoencoder training script, in one run.

``python -m eval.training_speed kl out=FOLDER``. The same KL autoencoder with the same random weights on both sides,
each in its own process; they take turns update by update, so a machine that slows down slows both.

An update moves the autoencoder once and, with the adversary, lets the discriminator judge once: one batch of ours,
two of the script's, whose players alternate. ``learned`` images moved the autoencoder, ``read`` counts all.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from tqdm import tqdm

from eval import machine
from eval.errors import EvaluationError
from eval.report import write_text
from eval.timing import quantile
from eval.trainers import Precision, Setting, Side, build, model_of, write_trunk
from tokenizer.core.config import Config, from_cli, refusals

PRESETS = Path(__file__).parent / "configs" / "training_speed"
SIDES: tuple[Side, ...] = ("ours", "diffusers")
Case = Literal["before the adversary", "with the adversary"]
CASES: dict[Case, bool] = {"before the adversary": False, "with the adversary": True}


class TrainingSpeedConfig(Config):
    """Training images/s of ours and of diffusers' train_autoencoderkl.py, the same model, losses and pictures."""

    model: str = Field(default="kl_f8c4", description="a training preset whose model is a KL autoencoder")
    resolution: int = Field(default=128, ge=16)
    batch: int = Field(default=4, ge=1)
    precision: Precision = Field(default="bf16", description="of ours: fp32, or bf16 by autocast")
    compile: bool = Field(default=True, description="torch.compile encoder and decoder of ours")
    channels_last: bool = Field(default=True, description="memory format of the kernels of ours")
    their_precision: Precision = Field(default="bf16", description="the script's --mixed_precision")
    lpips: bool = Field(
        default=True, description="the perceptual loss, VGG with random weights, on both sides"
    )
    cases: tuple[Case, ...] = ("before the adversary", "with the adversary")
    repeats: int = Field(default=5, ge=1, description="timed updates of each side and case")
    warmup: int = Field(default=2, ge=1)
    seed: int = 0
    out: Path | None = Field(default=None, description="folder for training_speed.json")


class Measured(Config):
    """One side in one case."""

    side: str
    case: str
    seconds: float = Field(description="median of an update")
    processor_s: float | None = Field(description="median processor time, all threads; on a CPU only")
    learned_images_per_s: float
    read_images_per_s: float
    total_loss: float = Field(description="of the last update; its scale is each side's own")


class Ratio(Config):
    """Ours over theirs; above 1 is faster."""

    case: str
    learned: float
    read: float
    processor: float | None


class TrainingSpeedReport(Config):
    """``training_speed.json``."""

    format: Literal[1] = 1
    job: Literal["training_speed"] = "training_speed"
    settings: TrainingSpeedConfig
    measured: tuple[Measured, ...]
    ratios: tuple[Ratio, ...]
    load_before: float = Field(
        description="runnable processes on the machine, mean of the minute before timing"
    )
    machine: machine.Machine
    commit: str | None

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.settings.model} at {self.settings.resolution}, batch {self.settings.batch}: {self.machine.device}, "
            f"{self.machine.threads} threads, torch {self.machine.torch}, load before {self.load_before:.1f}"
        ]
        lines += [
            f"{item.side:10s} {item.case:21s} {item.seconds:8.3f} s an update, {item.learned_images_per_s:7.2f} "
            f"images/s learned, {item.read_images_per_s:7.2f} read"
            for item in self.measured
        ]
        lines += [
            f"ours / diffusers, {item.case}: learned x {item.learned:.2f}, read x {item.read:.2f}"
            + ("" if item.processor is None else f", by processor time x {item.processor:.2f}")
            for item in self.ratios
        ]
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(TrainingSpeedConfig, "eval.training_speed", PRESETS, argv)
    with refusals("eval.training_speed"):
        report = run(config)
    sys.stdout.write(report.summary())


def run(config: TrainingSpeedConfig) -> TrainingSpeedReport:
    """Measure both sides.

    Raises:
        EvaluationError: if the model cannot be trained by the script, or a side fails.
    """
    try:
        model = model_of(config.model)
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_trunk(folder, config.seed)
        ours = Setting(
            model=model,
            resolution=config.resolution,
            batch=config.batch,
            precision=config.precision,
            compile=config.compile,
            channels_last=config.channels_last,
            lpips=config.lpips,
            seed=config.seed,
            folder=folder,
        )
        theirs = replace(ours, precision=config.their_precision, compile=False, channels_last=False)
        with workers({"ours": ours, "diffusers": theirs}) as sides:
            measured, load = measure(config, sides)
    report = TrainingSpeedReport(
        settings=config,
        measured=measured,
        ratios=tuple(ratio(case, measured) for case in config.cases),
        load_before=load,
        machine=machine.describe(machine.pick_device("auto")),
        commit=machine.commit(),
    )
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        record = report.model_dump(mode="json")
        write_text(config.out / "training_speed.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    return report


@contextmanager
def workers(settings: Mapping[Side, Setting]) -> Iterator[dict[Side, Connection]]:
    """A process for each side, and the way to ask it for updates."""
    context = multiprocessing.get_context("spawn")  # a fork would share the threads of torch
    connections: dict[Side, Connection] = {}
    processes = []
    for side, setting in settings.items():
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, side, setting), daemon=True)
        process.start()
        there.close()  # so that its end is seen if it dies
        connections[side] = here
        processes.append(process)
    try:
        yield connections
    finally:
        for connection in connections.values():
            connection.close()
        for process in processes:
            process.join(timeout=10)
            if process.is_alive():
                process.terminate()


def serve(connection: Connection, side: Side, setting: Setting) -> None:
    """In a side's process: build it, then make one update a request and answer with its times and losses."""
    try:
        trainer = build(side, setting)
        while True:
            adversary = connection.recv()
            start, busy = time.perf_counter(), time.process_time()
            log = trainer.update(adversary=adversary)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            connection.send((time.perf_counter() - start, time.process_time() - busy, log))
    except EOFError:
        return  # nobody asks any more
    except Exception as error:
        connection.send(error)  # the parent raises it


def ask(side: Side, connection: Connection, adversary: bool) -> tuple[float, float, dict[str, float]]:
    """One update of a side: seconds, processor seconds, losses.

    Raises:
        EvaluationError: if it failed, with its reason.
    """
    try:
        connection.send(adversary)
        answer = connection.recv()
    except (EOFError, BrokenPipeError) as error:
        raise EvaluationError(f"the process of {side} ended; was there enough memory?") from error
    if isinstance(answer, Exception):
        raise EvaluationError(f"{side}: {type(answer).__name__}: {answer}") from answer
    seconds, processor_s, log = answer
    if not all(abs(value) < float("inf") for value in log.values()):
        raise EvaluationError(f"{side}: a loss is not finite: {log}")
    return seconds, processor_s, log


def measure(
    config: TrainingSpeedConfig, sides: Mapping[Side, Connection]
) -> tuple[tuple[Measured, ...], float]:
    """Warm both up in every case, then let them take turns; and how busy the machine was before."""
    measured = []
    for case in config.cases:
        for side, connection in sides.items():
            for _ in range(config.warmup):
                ask(side, connection, CASES[case])
    load = os.getloadavg()[0]
    on_cpu = not torch.cuda.is_available()
    for case in config.cases:
        answers: dict[Side, list[tuple[float, float, dict[str, float]]]] = {side: [] for side in sides}
        for turn in tqdm(range(config.repeats), desc=case, unit="update"):
            for side in list(sides) if turn % 2 == 0 else reversed(list(sides)):
                answers[side].append(ask(side, sides[side], CASES[case]))
        for side, given in answers.items():
            seconds = quantile([answer[0] for answer in given], 0.5)
            log = given[-1][2]
            measured.append(
                Measured(
                    side=side,
                    case=case,
                    seconds=seconds,
                    processor_s=quantile([answer[1] for answer in given], 0.5) if on_cpu else None,
                    learned_images_per_s=config.batch / seconds,
                    read_images_per_s=log["pictures"] / seconds,
                    total_loss=log.get("loss/total", log.get("total", 0.0)),
                )
            )
    return tuple(measured), load


def ratio(case: str, measured: Sequence[Measured]) -> Ratio:
    """Ours over theirs in one case."""
    ours, theirs = (
        next(item for item in measured if item.case == case and item.side == side) for side in SIDES
    )
    busy = None
    if ours.processor_s and theirs.processor_s:
        busy = theirs.processor_s / ours.processor_s
    return Ratio(
        case=case,
        learned=ours.learned_images_per_s / theirs.learned_images_per_s,
        read=ours.read_images_per_s / theirs.read_images_per_s,
        processor=busy,
    )


if __name__ == "__main__":
    main()
