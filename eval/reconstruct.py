"""How well a tokenizer gives pictures back.

``python -m eval.reconstruct tokenizer=SOURCE data.path=DIR data.resolution=N out=DIR``: one pass encodes and
decodes every picture and feeds all metrics of the protocol; ``out`` receives ``report.json``, ``report.html``
and ``per_image.csv``.

Letters: B pictures, R resolution.
"""

import csv
import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from eval import machine
from eval.data import DataConfig, Pictures, read_crop
from eval.errors import EvaluationError
from eval.metrics import Score
from eval.page import Figure, Section, difference, render
from eval.pixels import as_seen
from eval.progress import Progress
from eval.protocols import EvaluationProtocol, protocol
from eval.report import (
    Computed,
    DataRecord,
    NotComputed,
    Panel,
    ProtocolRecord,
    Report,
    TokenizerRecord,
    check_required,
    not_computed,
    write_text,
)
from eval.round_trip import RoundTrip, Speed, Times, round_trip, with_any_statistics
from eval.weights import WeightsConfig
from tokenizer.adapters.remote import RemoteTokenizer
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.data.picture import Picture
from tokenizer.loading import connect
from tokenizer.model import Autoencoder, Tokenizer
from tokenizer.tiling import TilePlan

PRESETS = Path(__file__).parent / "configs" / "reconstruct"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BITS_PER_VALUE = 16
BITS_PER_RGB_PIXEL = 24


class TilesConfig(Config):
    """Encode and decode in overlapping tiles (pixels)."""

    tile: int = Field(default=512, ge=1)
    overlap: int = Field(default=128, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "TilesConfig":
        self.plan()
        return self

    def plan(self) -> TilePlan:
        """The plan that a tokenizer takes."""
        return TilePlan(self.tile, self.overlap)


class ReconstructConfig(Config):
    """Measure a tokenizer: PSNR, SSIM, LPIPS, rFID, bits per pixel and images/s, under a named protocol."""

    tokenizer: str = Field(
        description="a model folder, a run, a diffusers folder, hf:org/name, a bundled name, "
        "or http://host:port#model of a running server"
    )
    data: DataConfig
    out: Path = Field(description="folder for report.json, report.html and per_image.csv")
    protocol: str = "canon-v1"
    also: tuple[str, ...] = Field(
        default=(),
        description="more protocols of the same crop and posterior, in one pass; reports in out/NAME",
    )
    metrics: tuple[str, ...] | None = Field(
        default=None, description="only these; without it, the protocol's"
    )
    require: tuple[str, ...] = Field(default=(), description="metrics without which the job fails")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=16, ge=1)
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="the network computes in it; bfloat16 weights are exact in float32"
    )
    tiles: TilesConfig | None = None
    gallery: int = Field(default=6, ge=1, description="pictures shown of the worst, the middle and the best")


@dataclass(slots=True)
class Job:
    """All parts of one evaluation, ready to run, and what ``measure`` noted while it ran."""

    config: ReconstructConfig
    device: torch.device
    tokenizer: Tokenizer
    pictures: Pictures
    panels: tuple[Panel, ...]
    tiles: TilePlan | None
    generator: torch.Generator | None = None
    files: list[Picture] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    content: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def protocol(self) -> EvaluationProtocol:
        """The first protocol; all of them share its pictures and its use of the posterior."""
        return self.panels[0].protocol


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ReconstructConfig, "eval.reconstruct", PRESETS, argv)
    with refusals("eval.reconstruct"):
        report = run(config)
    sys.stdout.write(f"{report.summary()}{config.out / 'report.html'}\n")


def run(config: ReconstructConfig) -> Report:
    """Measure and write; returns the report.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    job = prepare(config)
    measure(job)
    reports = [
        _write(job, panel, config.out if panel is job.panels[0] else _below(job, panel))
        for panel in job.panels
    ]
    return reports[0]


def _below(job: Job, panel: Panel) -> Path:
    folder = job.config.out / panel.protocol.name
    folder.mkdir(exist_ok=True)
    return folder


def _write(job: Job, panel: Panel, folder: Path) -> Report:
    """Compute one protocol's metrics and write its report."""
    entries, scores = panel.compute()
    report = _report(job, panel, entries)
    title = f"Reconstruction by {job.config.tokenizer}"
    write_text(folder / "per_image.csv", _per_image(job, scores))
    write_text(folder / "report.html", render(report, title, _gallery(job, scores)))
    write_text(folder / "report.json", report.to_text())
    if panel is job.panels[0]:
        check_required(job.config.require, entries, not_computed(entries))
    return report


def prepare(config: ReconstructConfig) -> Job:
    """Build every part.

    Raises:
        EvaluationError: naming what does not fit.
    """
    try:
        device = machine.pick_device(config.device)
        pictures = Pictures.open(config.data)
        protocols = _protocols(config, pictures.resolution)
        panels = tuple(
            Panel(config.metrics or named.reconstruction, named, config.weights, device)
            for named in protocols
        )
        check_required(config.require, dict.fromkeys(panels[0].names), panels[0].missing)
        tokenizer = connect(config.tokenizer, device=str(device), dtype=DTYPES[config.dtype])
        config.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    if isinstance(tokenizer, Autoencoder):  # a server's models have theirs
        with_any_statistics(tokenizer)
    tiles = None if config.tiles is None else config.tiles.plan()
    sampled = protocols[0].posterior == "sample"
    generator = torch.Generator().manual_seed(protocols[0].interval.seed) if sampled else None
    return Job(config, device, tokenizer, pictures, panels, tiles, generator)


def _protocols(config: ReconstructConfig, resolution: int) -> list[EvaluationProtocol]:
    """All protocols asked for.

    Raises:
        ValueError: if one cannot share the first one's pass, or does not measure reconstructions.
    """
    names = (config.protocol, *config.also)
    protocols = [protocol(name, resolution, config.data.on_corrupt) for name in names]
    first = protocols[0]
    for other in protocols:
        if not other.shares_pass(first):
            raise ValueError(
                f"also={other.name}: crop {other.crop} and posterior {other.posterior}, where {first.name} has "
                f"{first.crop} and {first.posterior}; run it alone"
            )
        if not (config.metrics or other.reconstruction):
            raise ValueError(
                f"protocol={other.name} measures generators: use eval.generate, or give metrics=[...]"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"also={','.join(config.also)}: each protocol once")
    return protocols


def measure(job: Job) -> None:
    """Encode, decode and compare every picture."""
    config, pictures = job.config, job.pictures
    batches = pictures.batches(job.protocol, config.batch_size, config.data.num_workers)
    with Progress(config.out, "reconstruct", len(pictures.files)) as bar:
        for batch in batches:
            done = reconstruct(job, batch.data)
            for panel in job.panels:
                panel.update(batch.data, done.x_hat)
            job.content.update(batch.data.numpy().tobytes())
            job.files += batch.files
            job.times.append(done.times)
            bar.update(len(batch.files))
    if not job.files:
        raise EvaluationError(f"none of the {len(pictures.files)} pictures can be read")


def reconstruct(job: Job, real: Tensor) -> RoundTrip:
    """Pictures (B, 3, R, R) through the tokenizer and back, and how long both halves took."""
    config = job.config
    try:
        return round_trip(
            job.tokenizer,
            real,
            device=job.device,
            dtype=DTYPES[config.dtype],
            tiles=job.tiles,
            generator=job.generator,
        )
    except ValueError as error:
        raise EvaluationError(f"tokenizer={config.tokenizer} dtype={config.dtype}: {error}") from None


def _report(job: Job, panel: Panel, entries: Mapping[str, Computed | NotComputed]) -> Report:
    config, side = job.config, job.pictures.resolution
    bits = job.tokenizer.spec.bits((side, side), bits_per_value=BITS_PER_VALUE) / (side * side)
    speed = Speed.of(job.times)
    return Report(
        job="reconstruct",
        protocol=ProtocolRecord.of(panel.protocol),
        num_images=len(job.files),
        data=DataRecord.of(job.pictures, len(job.files), job.content.hexdigest()[:16]),
        tokenizer=TokenizerRecord.of(config.tokenizer, job.tokenizer, config.dtype, job.tiles),
        metrics=dict(entries),
        bits_per_pixel=bits,
        compression_ratio=BITS_PER_RGB_PIXEL / bits,
        images_per_s=speed.both,
        speed={
            "encode_images_per_s": speed.encode,
            "decode_images_per_s": speed.decode,
            "batch_size": config.batch_size,
            **(job.tokenizer.timings() if isinstance(job.tokenizer, RemoteTokenizer) else {}),
        },
        machine=machine.describe(job.device),
        commit=machine.commit(),
    )


def _per_image(job: Job, scores: Mapping[str, Score]) -> str:
    columns = {name: score.per_image for name, score in scores.items() if score.per_image}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", *columns])
    for index, file in enumerate(job.files):
        values = (f"{column[index]:.6g}" for column in columns.values())
        table.writerow([file.name, *values])
    return text.getvalue()


def _gallery(job: Job, scores: Mapping[str, Score]) -> list[Section]:
    """The worst, middle and best pictures by PSNR, made once more for the page (a sampled posterior: drawn anew)."""
    if "psnr" not in scores:
        return []
    psnr = scores["psnr"].per_image
    order = sorted(range(len(psnr)), key=psnr.__getitem__)
    sections = []
    for title, chosen in choose(order, job.config.gallery).items():
        figures = []
        for index in chosen:
            read, _ = read_crop(job.files[index], job.pictures.resolution, job.protocol.crop)
            fake = reconstruct(job, read.unsqueeze(0)).fake[0]
            real = as_seen(read, "round_uint8", "uint8")
            shown = [
                ("original", real),
                ("reconstruction", fake),
                ("difference x 4", difference(real, fake, gain=4.0)),
            ]
            figures.append(Figure(shown, f"{job.files[index].name}: {psnr[index]:.2f} dB"))
        sections.append(Section(title, figures))
    return sections


def choose(order: Sequence[int], count: int) -> dict[str, list[int]]:
    """Up to ``count`` indices from the start, the middle and the end of ``order``, none of them twice."""
    count = min(count, len(order) // 3) if len(order) >= 3 else 1
    first = (len(order) - count) // 2
    groups = {
        "Worst by PSNR": list(order[:count]),
        "Middle": list(order[first : first + count]),
        "Best": list(order[len(order) - count :])[::-1],
    }
    seen: set[int] = set()
    chosen = {}
    for title, group in groups.items():
        fresh = [index for index in group if index not in seen]
        seen.update(fresh)
        if fresh:
            chosen[title] = fresh
    return chosen


if __name__ == "__main__":
    main()
