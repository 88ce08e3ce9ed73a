"""From settings to the table: train what is not trained, measure what is not measured, write everything.

``out`` receives ``report.json``, ``report.html``, ``table.md``, ``table.csv`` and ``rate_distortion.svg``;
``comparison.json`` keeps what may not change, and ``members/LABEL/`` is each member's own.
"""

import json
import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from eval import machine
from eval.compare import page, plot, tables
from eval.compare.budget import at_budget, read_preset
from eval.compare.columns import COLUMNS
from eval.compare.measuring import measure
from eval.compare.pictures import Fingerprint, HeldOut
from eval.compare.record import Comparison, MemberRow, Point, PromiseRow, ReferenceRow
from eval.compare.references import References
from eval.compare.settings import CompareConfig, MemberConfig
from eval.compare.training import MemberFolder, Trained, TrainingFailedError, check_unchanged, train_member
from eval.page import png
from eval.report import ProtocolRecord, write_text
from tokenizer.core.run import refuse_changes
from tokenizer.loading import spec_id_of
from tokenizer.training import TrainConfig

logger = logging.getLogger(__name__)
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.2f}/{total_fmt} members [{elapsed}<{remaining}{postfix}]"


@dataclass
class Job:
    """All parts of one comparison.

    Attributes:
        presets: training presets by label, before the budget.
        measured_with: what a measurement depends on besides the tokenizer; a row made with the same is kept.
        shown: pictures by ``page.picture_key``.
    """

    config: CompareConfig
    command: str
    device: torch.device
    presets: Mapping[str, TrainConfig]
    training_pictures: Fingerprint
    held_out: HeldOut
    measured_with: dict[str, Any]  # JSON
    began: float = field(default_factory=time.perf_counter)
    rows: dict[str, MemberRow] = field(default_factory=dict)
    shown: dict[str, Tensor] = field(default_factory=dict)

    def folder(self, label: str) -> MemberFolder:
        """Where a member's files lie."""
        return MemberFolder(self.config.out / "members" / label)


def run(config: CompareConfig, command: str) -> Comparison:
    """Train, measure and write; returns the record.

    Raises:
        ValueError: if the comparison cannot run as asked; a member that fails is a row that says why.
    """
    job = prepare(config, command)
    with tqdm(total=len(config.members), bar_format=BAR) as bar:
        for number, member in enumerate(config.members):
            bar.set_description(f"{number + 1}/{len(config.members)} {member.label}")
            job.rows[member.label] = _member(job, member, bar, number)
            bar.n = number + 1
            bar.refresh()
    return write(job)


def prepare(config: CompareConfig, command: str) -> Job:
    """Check everything that can be checked before a member trains.

    Raises:
        ValueError: naming what is wrong.
    """
    device = machine.pick_device(config.device)
    presets = {member.label: read_preset(member) for member in config.members}
    for member in config.members:
        check_member(config, member, presets[member.label])
    training, held_out = (Fingerprint.of(path) for path in (config.data.training, config.data.held_out))
    keep_settings(config, training, held_out)
    for member in config.members:
        folder = MemberFolder(config.out / "members" / member.label)
        check_unchanged(folder, presets[member.label], config, member.label)
    pictures = HeldOut.read(config)
    measured_with = {
        "protocol": pictures.protocol.hash,
        "held_out": held_out.model_dump(),
        "num_used": pictures.record.num_used,
        "metrics": list(config.metrics),
        "weights": config.weights.model_dump(mode="json"),
        "device": str(device),
        "shown": list(pictures.shown),
        "columns": list(COLUMNS),
    }
    return Job(config, command, device, presets, training, pictures, measured_with)


def check_member(config: CompareConfig, member: MemberConfig, train: TrainConfig) -> None:
    """ValueError if the budget is too small for the member's phases."""
    if config.images is not None:
        try:
            at_budget(train, config, Path("."), config.images)
        except ValueError as error:
            raise ValueError(f"member {member.label}: {error}") from None


def keep_settings(config: CompareConfig, training: Fingerprint, held_out: Fingerprint) -> None:
    """Note what all members share, and refuse to go on with other budgets or other pictures."""
    now = config.model_dump(mode="json", include={"images", "seconds", "resolution", "batch", "seed"})
    now |= {"training_pictures": training.model_dump(), "held_out_pictures": held_out.model_dump()}
    file = config.out / "comparison.json"
    if file.is_file():
        refuse_changes(json.loads(file.read_text()), now, ())
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(now, indent=1) + "\n")


def _member(job: Job, member: MemberConfig, bar: "tqdm[Any]", number: int) -> MemberRow:
    """One row, whatever happens to its tokenizer."""
    began = time.perf_counter()
    train = job.presets[member.label]
    row = MemberRow(
        label=member.label,
        preset=member.preset,
        overrides=member.overrides,
        init=train.init,
        status="left out",
        why="not in only, and not trained yet",
    )

    def progress(share: float) -> None:
        bar.n = number + min(share, 1.0)
        bar.refresh()

    folder = job.folder(member.label)
    try:
        trained = folder.finished()
        if trained is None and not job.config.wanted(member.label):
            return row
        if trained is None:
            trained = train_member(folder, train, job.config, progress)
        kept = _kept(job, folder, trained)
        if kept is not None:
            return kept
        bar.set_postfix_str("measuring")
        return _measured(job, row, folder, trained, began)
    except TrainingFailedError as error:
        why = str(error)
    except Exception as error:  # whatever a family throws must not take the others along; all of it is kept
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.path / "failure.log", traceback.format_exc())
        why = f"{type(error).__name__}: {error}"
    finally:
        bar.set_postfix_str("")
    logger.warning("%s failed: %s", member.label, why)
    return row.model_copy(update={"status": "failed", "why": why})


def _kept(job: Job, folder: MemberFolder, trained: Trained) -> MemberRow | None:
    """The row that was measured before, if nothing that it depends on has changed."""
    file, pictures = folder.path / "row.json", folder.path / "pictures.png"
    if not file.is_file() or not pictures.is_file():
        return None
    saved = json.loads(file.read_text())
    if saved["measured_with"] != job.measured_with or saved["row"]["spec_id"] != spec_id_of(trained.folder):
        return None
    row = MemberRow.parse(saved["row"])
    job.shown[row.label] = page.read_strip(pictures)
    return row


def _measured(job: Job, row: MemberRow, folder: MemberFolder, trained: Trained, began: float) -> MemberRow:
    found = measure(trained, job.config, job.held_out, job.device)
    row = row.model_copy(
        update={
            "status": "done",
            "why": "",
            "spec_id": found.spec_id,
            "spec": found.spec,
            "bits": found.bits,
            "numbers": found.numbers,
            "training_settings": yaml.safe_load(folder.preset.read_text()),
            "machine": machine.describe(job.device),
            "commit": machine.commit(),
            "seconds": time.perf_counter() - began,
        }
    )
    (folder.path / "pictures.png").write_bytes(png(page.strip(found.shown)))
    record = {"measured_with": job.measured_with, "row": row.model_dump(mode="json")}
    write_text(folder.path / "row.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    job.shown[row.label] = found.shown
    return row


def write(job: Job) -> Comparison:
    """References, promises, and all files."""
    config = job.config
    references, curves = _references(job)
    floors = {row.budget: row.numbers.values["psnr"] for row in references if row.kind == "floor"}
    rows = {label: _with_gain(row, floors) for label, row in job.rows.items()}
    comparison = Comparison(
        command=job.command,
        budget=config.budget,
        resolution=config.resolution,
        protocol=ProtocolRecord.of(job.held_out.protocol),
        data=job.held_out.record,
        training_pictures=job.training_pictures,
        members=tuple(rows.values()),
        references=tuple(references),
        curves=curves,
        promises=tuple(PromiseRow.of(promise, rows) for promise in config.promises),
        machine=machine.describe(job.device),
        commit=machine.commit(),
        seconds=time.perf_counter() - job.began,
    )
    original = job.held_out.real[list(job.held_out.shown)]
    write_text(config.out / "table.md", tables.markdown(comparison))
    write_text(config.out / "table.csv", tables.csv_text(comparison))
    write_text(config.out / "rate_distortion.svg", plot.rate_distortion(comparison))
    write_text(config.out / "report.html", page.render(comparison, original, job.shown))
    write_text(config.out / "report.json", comparison.to_text())
    return comparison


def _references(job: Job) -> tuple[list[ReferenceRow], dict[str, tuple[Point, ...]]]:
    """Rows at every member's bits, and curves."""
    budgets = sorted({row.bits for row in job.rows.values() if row.bits is not None})
    if not budgets:
        return [], {}
    search = References(job.config, job.held_out, job.device)
    rows = []
    for budget in tqdm(budgets, desc="references", unit="budget"):
        for kind in job.config.references:
            reference = search.at(kind, budget)
            rows.append(reference.row)
            if reference.shown is not None:
                job.shown[page.picture_key(reference.row)] = reference.shown
    return rows, {kind: search.curve(kind, budgets) for kind in job.config.references}


def _with_gain(row: MemberRow, floors: Mapping[float, float]) -> MemberRow:
    """The row with its distance from the floor at its own bits."""
    psnr = row.numbers.values.get("psnr")
    if row.bits is None or psnr is None or row.bits not in floors:
        return row
    values = row.numbers.values | {"gain": psnr - floors[row.bits]}
    return row.model_copy(update={"numbers": row.numbers.model_copy(update={"values": values})})
