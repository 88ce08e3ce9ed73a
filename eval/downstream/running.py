"""From settings to the table: train what is not trained, measure what is not measured, write everything.

``out`` receives ``report.json``, ``report.html``, ``table.md`` and ``table.csv``; ``downstream.json`` keeps what may
not change, and ``members/LABEL/`` has a tokenizer's latents, its generator's run, and its row.
"""

import json
import logging
import shutil
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
from eval.data import evenly
from eval.downstream import tables
from eval.downstream.member import (
    Photographs,
    distance_of,
    generate,
    load_tokenizer,
    numbers,
    psnr_of,
    reconstruct,
    values_of,
)
from eval.downstream.record import SPACE, DownstreamReport, DownstreamRow
from eval.downstream.settings import DownstreamConfig, DownstreamMember
from eval.measures.patch_frechet import PatchFrechet, patch_frechet
from eval.page import png
from eval.report import write_text
from tokenizer.core import checkpoint
from tokenizer.core.run import refuse_changes
from tokenizer.loading import find, spec_id_of

logger = logging.getLogger(__name__)
FIXED = ("generator", "overrides", "images", "batch", "resolution", "seed")


@dataclass
class Job:
    """All parts of one job.

    Attributes:
        reference: the patch distance with the training pictures in it.
        measured_with: what a row depends on besides the tokenizer; a row made with the same is kept.
        shown: samples by label, (S, 3, R, R) uint8.
    """

    config: DownstreamConfig
    command: str
    device: torch.device
    training_pictures: Fingerprint
    held_out_pictures: Fingerprint
    photographs: Photographs
    reference: PatchFrechet
    measured_with: dict[str, Any]  # JSON
    began: float = field(default_factory=time.perf_counter)
    shown: dict[str, Tensor] = field(default_factory=dict)

    def folder(self, label: str) -> Path:
        """Where a member's files lie."""
        return self.config.out / "members" / label


def run(config: DownstreamConfig, command: str) -> DownstreamReport:
    """Train, sample, measure and write; returns the record.

    Raises:
        ValueError: if the job cannot run as asked; a member that fails is a row that says why.
    """
    job = prepare(config, command)
    rows = []
    for number, member in enumerate(config.members):
        logger.info("%d/%d %s", number + 1, len(config.members), member.label)
        rows.append(_row(job, member))
        write(job, rows)  # so that what is done is seen while the others run
    return write(job, rows)


def prepare(config: DownstreamConfig, command: str) -> Job:
    """Check everything that can be checked before a generator trains.

    Raises:
        ValueError: naming what is wrong.
    """
    device = machine.pick_device(config.device)
    for member in config.members:
        config.source_of(member)
    config.training(Path("."), Path("."))
    training, held_out = (Fingerprint.of(path) for path in (config.data.training, config.data.held_out))
    keep_settings(config, training)
    photographs = Photographs.read(config)
    measured_with = config.model_dump(
        mode="json", include={*FIXED, "num_samples", "num_steps", "guidance", "sampler", "gallery"}
    )
    measured_with |= {
        "space": SPACE,
        "flip": config.data.flip,
        "reference": training.model_dump() | {"used": len(photographs.reference)},
        "held_out": held_out.model_dump() | {"used": len(photographs.held_out)},
        "device": device.type,
    }
    return Job(config, command, device, training, held_out, photographs, photographs.measure(), measured_with)


def keep_settings(config: DownstreamConfig, training: Fingerprint) -> None:
    """Note what all members share, and refuse to go on with other budgets or other pictures."""
    now = config.model_dump(mode="json", include=set(FIXED))
    now |= {"flip": config.data.flip, "training_pictures": training.model_dump()}
    file = config.out / "downstream.json"
    if file.is_file():
        refuse_changes(json.loads(file.read_text()), now, ())
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(now, indent=1) + "\n")


def _row(job: Job, member: DownstreamMember) -> DownstreamRow:
    """One row, whatever happens to its tokenizer or generator."""
    began, source = time.perf_counter(), job.config.source_of(member)
    row = DownstreamRow(
        label=member.label, source=source, status="left out", why="not in only, and not trained yet"
    )
    folder = job.folder(member.label)
    try:
        kept = _kept(job, folder, source)
        if kept is not None:
            return kept
        if not job.config.wanted(member.label):
            return row
        return _measured(job, row, folder, began)
    except Exception as error:  # whatever a family throws must not take the others along; all of it is kept
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "failure.log", traceback.format_exc())
        why = f"{type(error).__name__}: {error}"
    logger.warning("%s failed: %s", member.label, why)
    return row.model_copy(update={"status": "failed", "why": why})


def _kept(job: Job, folder: Path, source: str) -> DownstreamRow | None:
    """The row that was measured before, if nothing that it depends on has changed."""
    file, pictures = folder / "row.json", folder / "samples.png"
    if not file.is_file() or not pictures.is_file():
        return None
    saved = json.loads(file.read_text())
    if saved["measured_with"] != job.measured_with or saved["row"]["spec_id"] != identity(source):
        return None
    row = DownstreamRow.parse(saved["row"])
    job.shown[row.label] = read_strip(pictures)
    return row


def identity(source: str) -> str:
    """The latent space of a tokenizer; ValueError if there is none."""
    folder = find(source)
    if "_class_name" in checkpoint.read_config(folder):  # diffusers', whose weights must be read
        return load_tokenizer(source).spec_id
    return spec_id_of(folder)


def _measured(job: Job, row: DownstreamRow, folder: Path, began: float) -> DownstreamRow:
    config, held_out = job.config, job.photographs.held_out
    tokenizer = load_tokenizer(row.source, job.device)
    _forget_others(folder, tokenizer.spec_id)
    fake = reconstruct(tokenizer, held_out, config.batch_size, job.device)
    made = generate(tokenizer, config, folder, job.device)
    row = row.model_copy(
        update={
            "status": "done",
            "why": "",
            "spec_id": tokenizer.spec_id,
            "spec": tokenizer.spec.model_dump(mode="json"),
            "latent_shape": made.latent_shape,
            "values": values_of(made.latent_shape),
            "tokenizer_parameters": sum(parameter.numel() for parameter in tokenizer.parameters()),
            "generator_parameters": made.num_parameters,
            "psnr": psnr_of(held_out, fake),
            "reconstruction": numbers(patch_frechet(held_out, fake)),
            "generation": distance_of(made.samples, job.reference),
            "loss": made.loss,
            "training": config.training(folder / "latents", folder / "run").model_dump(mode="json"),
            "seconds": time.perf_counter() - began,
            "machine": machine.describe(job.device),
            "commit": machine.commit(),
        }
    )
    job.shown[row.label] = made.samples[: config.gallery]
    (folder / "samples.png").write_bytes(png(strip(job.shown[row.label])))
    record = {"measured_with": job.measured_with, "row": row.model_dump(mode="json")}
    write_text(folder / "row.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    return row


def _forget_others(folder: Path, spec_id: str) -> None:
    """Latents and a generator of another tokenizer, which once had this label, are of no use any more."""
    file = folder / "tokenizer.json"
    if file.is_file() and json.loads(file.read_text())["spec_id"] != spec_id:
        for name in ("latents", "run"):
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"spec_id": spec_id}) + "\n")


def write(job: Job, rows: list[DownstreamRow]) -> DownstreamReport:
    """All files, for the rows there are."""
    config, photographs = job.config, job.photographs
    guidance = "no guidance" if config.guidance == 1.0 else f"guidance {config.guidance:g}"
    report = DownstreamReport(
        command=job.command,
        resolution=config.resolution,
        images=config.images,
        num_samples=config.num_samples,
        sampling=f"{config.num_steps} {config.sampler} steps, {guidance}",
        training_pictures=job.training_pictures,
        held_out_pictures=job.held_out_pictures,
        num_reference=len(photographs.reference),
        num_held_out=len(photographs.held_out),
        photographs=distance_of(photographs.held_out, job.reference),
        members=tuple(rows),
        machine=machine.describe(job.device),
        commit=machine.commit(),
        seconds=time.perf_counter() - job.began,
    )
    shown = photographs.reference[evenly(range(len(photographs.reference)), config.gallery)]
    write_text(config.out / "table.md", tables.markdown(report))
    write_text(config.out / "table.csv", tables.csv_text(report))
    write_text(config.out / "report.html", tables.page(report, job.shown, shown))
    write_text(config.out / "report.json", report.to_text())
    return report
