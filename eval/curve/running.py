"""From a comparison that has run to the page of curves; members are measured one by one and kept.

``out`` receives ``report.json``, ``report.html``, ``table.md``, ``table.csv`` and ``rate_quality.svg``;
``points/LABEL.json`` and ``points/LABEL-K.png`` keep what was measured of a member.
"""

import json
import logging
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eval import machine
from eval.compare.page import read_strip, strip
from eval.compare.pictures import Fingerprint
from eval.compare.record import Comparison, MemberRow
from eval.compare.training import MemberFolder
from eval.curve import tables
from eval.curve.measuring import measure
from eval.curve.record import BesideRow, CurveReport, CurveRow
from eval.curve.settings import CurveConfig
from eval.data import DataConfig, Pictures, evenly
from eval.page import png
from eval.protocols import protocol
from eval.report import write_text
from tokenizer.loading import load, spec_id_of

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """All parts of one job.

    Attributes:
        comparison: that trained and measured the members.
        pictures: its held-out pictures, (N, 3, R, R) uint8.
        places: of the pictures that the page shows.
        measured_with: what points depend on besides the tokenizer; points made with the same are kept.
        shown: reconstructions by label and number of tokens.
    """

    config: CurveConfig
    command: str
    comparison: Comparison
    pictures: Tensor
    places: tuple[int, ...]
    device: torch.device
    measured_with: dict[str, Any]  # JSON
    began: float = field(default_factory=time.perf_counter)
    shown: dict[str, dict[int, Tensor]] = field(default_factory=dict)


def run(config: CurveConfig, command: str) -> CurveReport:
    """Measure and write; returns the record.

    Raises:
        ValueError: if the job cannot run as asked; a member that fails is a row that says why.
    """
    job = prepare(config, command)
    rows = []
    for label in config.curves:
        logger.info("%s", label)
        rows.append(_row(job, label))
    return write(job, rows)


def prepare(config: CurveConfig, command: str) -> Job:
    """Read the comparison and its pictures.

    Raises:
        ValueError: if there is no comparison, it has no such members, or the pictures are others now.
    """
    file = config.comparison / "report.json"
    if not file.is_file():
        raise ValueError(f"comparison={config.comparison} holds no report.json: run eval.compare first")
    comparison = Comparison.parse(json.loads(file.read_text()))
    labels = [row.label for row in comparison.members]
    for label in (*config.curves, *(config.beside or ())):
        if label not in labels:
            raise ValueError(f"the comparison has no member {label!r}; there are {', '.join(labels)}")
    path = config.pictures or Path(comparison.data.path)
    fingerprint = Fingerprint.of(path)
    kept = json.loads((config.comparison / "comparison.json").read_text())["held_out_pictures"]
    if fingerprint.model_dump() != kept:
        raise ValueError(
            f"{path} holds {fingerprint.count} pictures, {fingerprint.sha256[:12]}; the comparison was measured on "
            f"{kept['count']}, {kept['sha256'][:12]}: give these as pictures=DIR"
        )
    pictures = _read(comparison, path, config.batch_size)
    places = tuple(evenly(range(len(pictures)), config.gallery))
    device = machine.pick_device(config.device)
    measured_with = config.model_dump(mode="json", include={"counts", "max_counts", "qualities"})
    measured_with |= {
        "protocol": comparison.protocol.hash,
        "pictures": kept | {"used": len(pictures)},
        "shown": list(places),
        "device": device.type,
    }
    config.out.mkdir(parents=True, exist_ok=True)
    return Job(config, command, comparison, pictures, places, device, measured_with)


def _read(comparison: Comparison, path: Path, batch_size: int) -> Tensor:
    data = DataConfig(path=path, resolution=comparison.resolution, max_images=comparison.data.num_used)
    named = protocol(comparison.protocol.name, comparison.resolution)
    batches = Pictures.open(data).batches(named, batch_size, data.num_workers)
    return torch.cat([batch.data for batch in batches])


def _row(job: Job, label: str) -> CurveRow:
    """One row, whatever happens to its tokenizer."""
    config = job.config
    try:
        trained = MemberFolder(config.comparison / "members" / label).finished()
        if trained is None:
            raise ValueError("the comparison has not trained it to its end")
        spec_id = spec_id_of(trained.folder)
        kept = _kept(job, label, spec_id)
        if kept is not None:
            return kept
        curve = measure(
            load(trained.folder, device=str(job.device)),
            job.pictures,
            counts=config.counts,
            max_counts=config.max_counts,
            qualities=config.qualities,
            shown=job.places,
            batch_size=config.batch_size,
            device=job.device,
        )
    except Exception as error:  # whatever a family throws must not take the others along; all of it is kept
        write_text(config.out / f"failure-{label}.log", traceback.format_exc())
        logger.warning("%s failed: %s", label, error)
        return CurveRow(label=label, why=f"{type(error).__name__}: {error}")
    row = CurveRow(label=label, spec_id=spec_id, points=curve.points, chosen=curve.chosen)
    job.shown[label] = curve.shown
    folder = config.out / "points"
    folder.mkdir(exist_ok=True)
    for count, pictures in curve.shown.items():
        (folder / f"{label}-{count}.png").write_bytes(png(strip(pictures)))
    record = {"measured_with": job.measured_with, "row": row.model_dump(mode="json")}
    write_text(folder / f"{label}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    return row


def _kept(job: Job, label: str, spec_id: str) -> CurveRow | None:
    """The row that was measured before, if nothing that it depends on has changed."""
    folder = job.config.out / "points"
    if not (folder / f"{label}.json").is_file():
        return None
    saved = json.loads((folder / f"{label}.json").read_text())
    if saved["measured_with"] != job.measured_with or saved["row"]["spec_id"] != spec_id:
        return None
    row = CurveRow.parse(saved["row"])
    files = {round(point.tokens): folder / f"{label}-{round(point.tokens)}.png" for point in row.points}
    if not all(file.is_file() for file in files.values()):
        return None
    job.shown[label] = {count: read_strip(file) for count, file in files.items()}
    return row


def beside(config: CurveConfig, members: tuple[MemberRow, ...]) -> list[BesideRow]:
    """The members that stand beside the curves, as far as they are measured."""
    found = []
    for row in members:
        values = row.numbers.values
        wanted = row.label not in config.curves if config.beside is None else row.label in config.beside
        if wanted and "psnr" in values and "bits_per_pixel" in values:
            found.append(
                BesideRow(
                    label=row.label,
                    tokens=round(values["tokens"]),
                    bits_per_pixel=values["bits_per_pixel"],
                    psnr=values["psnr"],
                )
            )
    return found


def write(job: Job, rows: list[CurveRow]) -> CurveReport:
    """All files."""
    config, comparison = job.config, job.comparison
    report = CurveReport(
        command=job.command,
        budget=comparison.budget,
        resolution=comparison.resolution,
        protocol=comparison.protocol,
        data=comparison.data,
        members=tuple(rows),
        beside=tuple(beside(config, comparison.members)),
        references=comparison.curves,
        machine=machine.describe(job.device),
        commit=machine.commit(),
        seconds=time.perf_counter() - job.began,
    )
    write_text(config.out / "table.md", tables.markdown(report))
    write_text(config.out / "table.csv", tables.csv_text(report))
    write_text(config.out / "rate_quality.svg", tables.rate_quality(report))
    write_text(config.out / "report.html", tables.page(report, job.pictures[list(job.places)], job.shown))
    write_text(config.out / "report.json", report.to_text())
    return report
