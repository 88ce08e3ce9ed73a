"""A generator at every pair of guidance and steps: which setting is best, and how sure that is.

``python -m eval.sweep generator=SOURCE data.path=TRAINING_PICTURES guidance=[1,2,4] num_steps=[20,50] out=DIR``:
the same seeds at every pair, the reference read once; ``out`` receives ``sweep.json``, ``sweep.csv``, ``report.html``
with a chart of every metric, and ``GUIDANCE-STEPS/report.json`` of every pair, as ``eval.generate`` writes it.

Letters: R resolution.
"""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from eval import processes
from eval.generate import report_of
from eval.generator import Job, prepare
from eval.job import workplace
from eval.machine import Machine
from eval.page import Figure, Section, as_html, document, png, table
from eval.photographs import Photographs
from eval.plot import Curve, chart
from eval.report import (
    Computed,
    NotComputed,
    ProtocolRecord,
    Report,
    check_required,
    not_computed,
    read_report,
    write_text,
)
from eval.rows import give_rows, take_rows
from eval.samples import Samples, Sampling, make
from eval.settings import SweepConfig
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.core.parts import write_whole

SHOWN = "shown.png"


class PointRecord(Config):
    """One pair of guidance and steps."""

    guidance: float
    num_steps: int
    images_per_s: float
    metrics: dict[str, Computed | NotComputed]


class BestRecord(Config):
    """The pair at which a metric is best."""

    guidance: float
    num_steps: int
    value: float
    rivals: int = Field(description="other pairs whose 95 % interval overlaps with this one's")


class SweepRecord(Config):
    """``sweep.json``."""

    format: Literal[1] = 1
    generator: str
    protocol: ProtocolRecord
    num_images: int
    seed: int
    points: tuple[PointRecord, ...]
    best: dict[str, BestRecord]
    machine: Machine
    commit: str | None

    def summary(self) -> str:
        """A few lines for the terminal."""
        lines = [f"{self.protocol.name} {self.protocol.hash}, {self.num_images} samples of each pair"]
        for name, best in self.best.items():
            lines.append(
                f"  {name:18s} {best.value:.4f} at guidance {best.guidance:g} and {best.num_steps} steps; "
                f"{best.rivals} of {len(self.points) - 1} other pairs are not told apart from it"
            )
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(SweepConfig, "eval.sweep", None, argv)
    with refusals("eval.sweep"), processes.joined():
        record = run(config)
        if processes.is_first():
            sys.stdout.write(f"{record.summary()}{config.out / 'report.html'}\n")


def run(config: SweepConfig) -> SweepRecord:
    """Sample and measure every pair, and write; returns the record, in every process that shares the job.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    with workplace(config):
        job = prepare(config)
        samplings = [
            Sampling(guidance, steps) for steps, guidance in product(config.num_steps, config.guidance)
        ]
        points = [Samples.of(job, sampling, folder_of(config.out, sampling).name) for sampling in samplings]
        photographs = Photographs.of(job, None)
        photographs.read(job, to_come=len(points) * config.num_images)
        num_read = photographs.collect(job)[1] if processes.is_first() else 0
        real = take_rows(job.metrics)
        done = len(photographs)
        for number, samples in enumerate(points):
            make(job, samples, before=done, to_come=(len(points) - 1 - number) * config.num_images)
            done += len(samples)
            if processes.is_first() and not samples.shards.is_closed:
                _finish_point(job, config, samples, real, num_read)
            processes.wait()
        if processes.is_first():
            _write(config, samplings)
            for samples in points:
                samples.shards.remove()
            photographs.remove()
        processes.wait()
    return read_sweep(config.out)


def read_sweep(out: Path) -> SweepRecord:
    """The record in a folder."""
    return SweepRecord.parse(json.loads((out / "sweep.json").read_text(encoding="utf-8")))


def folder_of(out: Path, sampling: Sampling) -> Path:
    """Where a pair's report lies."""
    return out / f"guidance{sampling.guidance:g}-steps{sampling.num_steps}"


def _finish_point(
    job: Job, config: SweepConfig, samples: Samples, real: Mapping[str, Tensor], num_read: int
) -> None:
    """Compute and write one pair; its samples are forgotten then."""
    give_rows(job.metrics, real)
    seconds = samples.collect(job)
    entries, _ = job.panel.compute()
    take_rows(job.metrics)  # the next pair begins anew
    folder = folder_of(config.out, samples.sampling)
    folder.mkdir(exist_ok=True)
    shown = samples.pictures(range(min(config.shown, len(samples))))
    write_whole(folder / SHOWN, lambda file: file.write_bytes(png(torch.cat(list(shown.values()), dim=2))))
    if config.keep_samples:
        samples.write_npz(folder / "samples.npz")
    report = report_of(job, samples, seconds, entries, [], num_read)
    write_text(folder / "report.json", report.to_text())
    check_required(config.require, entries, not_computed(entries))
    samples.shards.close()


def _write(config: SweepConfig, samplings: Sequence[Sampling]) -> None:
    """The table, the charts and the page, from the reports of all pairs."""
    reports = [read_report(folder_of(config.out, sampling)) for sampling in samplings]
    points = tuple(
        PointRecord(
            guidance=sampling.guidance,
            num_steps=sampling.num_steps,
            images_per_s=report.images_per_s,
            metrics=report.metrics,
        )
        for sampling, report in zip(samplings, reports, strict=True)
    )
    first = reports[0]
    record = SweepRecord(
        generator=config.generator,
        protocol=first.protocol,
        num_images=config.num_images,
        seed=config.seed,
        points=points,
        best=best_of(points),
        machine=first.machine,
        commit=first.commit,
    )
    write_text(config.out / "sweep.csv", _csv(points))
    write_text(config.out / "report.html", _page(config, record, first))
    write_text(config.out / "sweep.json", json.dumps(record.model_dump(mode="json"), indent=1) + "\n")


def best_of(points: Sequence[PointRecord]) -> dict[str, BestRecord]:
    """The best pair of every metric that has a value at every pair."""
    best = {}
    for name in points[0].metrics:
        values = [point.metrics.get(name) for point in points]
        entries = [entry for entry in values if isinstance(entry, Computed)]
        if len(entries) < len(points):
            continue
        sign = 1.0 if entries[0].higher_is_better else -1.0
        place = max(range(len(points)), key=lambda index: sign * entries[index].value)
        low, high = entries[place].ci95
        best[name] = BestRecord(
            guidance=points[place].guidance,
            num_steps=points[place].num_steps,
            value=entries[place].value,
            rivals=sum(entry.ci95[0] <= high and low <= entry.ci95[1] for entry in entries) - 1,
        )
    return best


def _csv(points: Sequence[PointRecord]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["guidance", "num_steps", "metric", "value", "low", "high", "num_images"])
    for point in points:
        for name, entry in point.metrics.items():
            if isinstance(entry, Computed):
                found = [entry.value, *entry.ci95, entry.num_images]
                rows.writerow([f"{point.guidance:g}", point.num_steps, name, *found])
    return text.getvalue()


def charts(points: Sequence[PointRecord]) -> dict[str, str]:
    """An SVG of every metric that some pair has: over guidance, a curve a number of steps; or over steps alone."""
    over_steps = len({point.guidance for point in points}) == 1
    found = {}
    for name in dict.fromkeys(name for point in points for name in point.metrics):
        curves: dict[str, list[tuple[float, float, str]]] = {}
        for point in points:
            entry = point.metrics.get(name)
            if not isinstance(entry, Computed):
                continue
            title = f"guidance {point.guidance:g}" if over_steps else f"{point.num_steps} steps"
            says = f"{entry.value:.4g} (95 % {entry.ci95[0]:.4g} to {entry.ci95[1]:.4g})"
            across = float(point.num_steps) if over_steps else point.guidance
            curves.setdefault(title, []).append((across, entry.value, says))
        if curves:
            drawn = [_curve(title, sorted(line)) for title, line in curves.items()]
            axis = "steps" if over_steps else "guidance"
            found[name] = chart(f"{name} over {axis}", drawn, across=(axis, "linear"), up=(name, "linear"))
    return found


def _curve(title: str, line: Sequence[tuple[float, float, str]]) -> Curve:
    return Curve(title, [(across, up) for across, up, _ in line], [says for _, _, says in line])


def _page(config: SweepConfig, record: SweepRecord, first: Report) -> str:
    best = [
        (name, f"{entry.value:.4f} at guidance {entry.guidance:g}, {entry.num_steps} steps")
        for name, entry in record.best.items()
    ]
    missing = [
        (name, f"needs {entry.not_computed}; put it {entry.put}")
        for name, entry in not_computed(first.metrics).items()
    ]
    figures = [
        Figure(
            [("the first seeds", _read_strip(folder_of(config.out, sampling) / SHOWN))],
            f"guidance {sampling.guidance:g}, {sampling.num_steps} steps",
        )
        for sampling in (Sampling(point.guidance, point.num_steps) for point in record.points)
    ]
    title = f"Guidance and steps of {config.generator}"
    lead = f"{record.num_images} samples of each pair, the same seeds and classes in all"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{lead}; protocol <strong>{escape(record.protocol.name)}</strong> '
        f"<code>{record.protocol.hash}</code></p>",
        table("Best", best),
        *charts(record.points).values(),
        as_html(Section("Samples", figures)),
        *([table("Not computed", missing)] if missing else []),
        table("Protocol", record.protocol.settings.lines()),
    ]
    return document(title, body)


def _read_strip(path: Path) -> Tensor:
    """A PNG of ours -> uint8 (3, R, n R)."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


if __name__ == "__main__":
    main()
