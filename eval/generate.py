"""What a generator makes: gFID, a grid of all classes, and the photograph nearest to each sample.

``python -m eval.generate generator=SOURCE tokenizer=SOURCE data.path=TRAINING_PICTURES out=DIR``; ``out``
receives ``report.json``, ``report.html``, ``grid.png`` and ``samples.npz`` (``arr_0`` (N, H, W, 3) uint8 and
``arr_1`` labels, as ADM's evaluator reads them).

Letters: N samples, R resolution.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from diffusion.pipeline import Pipeline
from diffusion.remote import RemotePipeline
from diffusion.samplers import SamplerName
from eval import machine
from eval.data import DataConfig, Pictures, evenly, read_crop
from eval.errors import EvaluationError
from eval.grid import class_grid
from eval.metrics.score import SetMetric
from eval.metrics.sets import SetComparison
from eval.nearest import METRIC, NearestPhotographs, Neighbour
from eval.page import Figure, Section, render
from eval.pixels import as_seen, to_uint8
from eval.progress import Progress
from eval.protocols import EvaluationProtocol, protocol
from eval.reference import Reference
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
from eval.weights import WeightsConfig
from tokenizer.adapters.remote import is_remote
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.model import Tokenizer

PRESETS = Path(__file__).parent / "configs" / "generate"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class GenerateConfig(Config):
    """Measure a generator against the pictures it learned from, under a named protocol."""

    generator: str = Field(
        description="a model folder, a run, a bundled name, or http://host:port#model of a running server"
    )
    tokenizer: str | None = Field(
        default=None, description="its tokenizer; a bundled generator brings its own"
    )
    data: DataConfig = Field(description="the training pictures: reference of gFID and of the nearest ones")
    out: Path = Field(description="folder for report.json, report.html, grid.png and samples.npz")
    reference: Path | None = Field(
        default=None, description="npz of ADM's layout that the metrics compare with, instead of data.path"
    )
    num_images: int = Field(default=200, ge=1, description="samples, the same number of each class")
    seed: int = Field(default=0, ge=0, description="sample i is made from seed + i and class i mod classes")
    num_steps: int = Field(default=50, ge=1)
    guidance: float = 2.0
    sampler: SamplerName = "euler"
    protocol: str = "canon-v1"
    metrics: tuple[str, ...] | None = Field(default=None, description="only these; else the protocol's")
    require: tuple[str, ...] = Field(default=(), description="metrics without which the job fails")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=32, ge=1)
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    grid_per_class: int = Field(default=4, ge=1, description="samples of each class in the grid and the page")
    grid_classes: int = Field(default=50, ge=1, description="classes shown, evenly spaced if there are more")


@dataclass(frozen=True, slots=True)
class Job:
    """All parts of one evaluation, ready to run."""

    config: GenerateConfig
    device: torch.device
    pipeline: Pipeline | RemotePipeline
    tokenizer: Tokenizer
    pictures: Pictures
    protocol: EvaluationProtocol
    panel: Panel
    metrics: Mapping[str, SetMetric]
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """What was generated.

    Attributes:
        data: (N, 3, R, R) uint8.
        labels: N class numbers.
        seconds: of generation and decoding.
    """

    data: Tensor
    labels: Sequence[int]
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(GenerateConfig, "eval.generate", PRESETS, argv)
    with refusals("eval.generate"):
        report = run(config)
    sys.stdout.write(f"{report.summary()}{config.out / 'report.html'}\n{config.out / 'grid.png'}\n")


def run(config: GenerateConfig) -> Report:
    """Generate, measure and write; returns the report.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    job = prepare(config)
    samples = generate(job)
    neighbours, num_read = compare(job, samples)
    entries, _ = job.panel.compute()
    report = _report(job, entries, samples, neighbours, num_read)
    shown = list(_shown(job, samples, neighbours))
    _write_npz(config.out / "samples.npz", samples)
    rows = [(name, [(figure.sample, figure.photograph) for figure in figures]) for name, figures in shown]
    class_grid(rows, "in each pair: sample, nearest training photograph").save(config.out / "grid.png")
    title = f"Generation by {config.generator}"
    write_text(config.out / "report.html", render(report, title, _sections(job, shown)))
    write_text(config.out / "report.json", report.to_text())
    check_required(config.require, entries, not_computed(entries))
    return report


def prepare(config: GenerateConfig) -> Job:
    """Build every part.

    Raises:
        EvaluationError: naming what does not fit.
    """
    try:
        device = machine.pick_device(config.device)
        pipeline = _pipeline(config, str(device))
        if pipeline.tokenizer is None:
            raise EvaluationError("tokenizer=SOURCE is needed: this generator does not bring its tokenizer")
        if not pipeline.tokenizer.spec.has_statistics:
            raise EvaluationError(
                "the tokenizer has no latent statistics, so it cannot decode what a generator makes: "
                "measure them with `python -m tokenizer.stats`, and train the generator on such latents"
            )
        side = _side(pipeline, config.data.resolution)
        pictures = Pictures.open(config.data.model_copy(update={"resolution": side}))
        named = protocol(config.protocol, side, config.data.on_corrupt)
        panel = Panel(config.metrics or named.generation, named, config.weights, device)
        reference = None if config.reference is None else Reference.read(config.reference)
        against(panel, reference)
        check_required(config.require, dict.fromkeys(panel.names), panel.missing)
        metrics = {}
        for name, metric in panel.metrics.items():
            if not isinstance(metric, SetMetric):
                raise EvaluationError(f"metrics: {name} compares pairs, and samples have no original")
            metrics[name] = metric
        config.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    return Job(config, device, pipeline, pipeline.tokenizer, pictures, named, panel, metrics, reference)


def against(panel: Panel, reference: Reference | None) -> None:
    """Set the metrics against the reference file; what it cannot serve becomes a metric that is not computed.

    A protocol whose numbers are against an npz never takes a folder instead.
    """
    for name, metric in list(panel.metrics.items()):
        if not isinstance(metric, SetComparison):
            continue
        lacking = None if reference is None else reference.serve(metric)
        if reference is None and metric.needs_real and panel.protocol.fid.gfid_reference == "npz":
            lacking = f"{panel.protocol.name} compares with an npz of statistics, never with a folder"
        if lacking is not None:
            del panel.metrics[name]
            panel.missing[name] = NotComputed(not_computed=lacking, put="in as reference=FILE.npz")


def generate(job: Job) -> Samples:
    """Make the samples: class i mod classes from seed + i, so that any of them can be made again alone."""
    config, classes = job.config, len(job.pipeline.class_names)
    labels = [index % classes for index in range(config.num_images)]
    parts = []
    start = time.perf_counter()
    with Progress(config.out, "generate", config.num_images, to_come=len(job.pictures.files)) as bar:
        for first in range(0, config.num_images, config.batch_size):
            part = labels[first : first + config.batch_size]
            x = job.pipeline.generate(
                part,
                config.seed + first,
                config.num_steps,
                config.guidance,
                sampler=config.sampler,
                output="pixels",
                batch=config.batch_size,
            )
            try:
                parts.append(to_uint8(x).cpu())
            except ValueError as error:
                raise EvaluationError(f"generator={config.generator} dtype={config.dtype}: {error}") from None
            for metric in job.metrics.values():
                metric.update_fake(parts[-1])
            bar.update(len(part))
    return Samples(torch.cat(parts), labels, time.perf_counter() - start)


def compare(job: Job, samples: Samples) -> tuple[list[Neighbour], int]:
    """Read the training pictures once, for the metrics and the nearest ones; (neighbours, pictures read)."""
    nearest = NearestPhotographs(samples.data)
    count = 0
    batches = job.pictures.batches(job.protocol, job.config.batch_size, job.config.data.num_workers)
    files = len(job.pictures.files)
    with Progress(job.config.out, "reference", files, before=job.config.num_images) as bar:
        for batch in batches:
            pictures = as_seen(batch.data, "round_uint8", "uint8")
            nearest.update(batch.files, pictures)
            for metric in job.metrics.values() if job.reference is None else ():
                metric.update_real(pictures)
            count += len(batch.files)
            bar.update(len(batch.files))
    if not count:
        raise EvaluationError(f"none of the {len(job.pictures.files)} pictures can be read")
    waiting = [metric for metric in job.metrics.values() if getattr(metric, "needs_real", True)]
    for pictures in job.reference.batches(job.config.batch_size) if job.reference and waiting else ():
        for metric in waiting:
            metric.update_real(pictures)
    return nearest.result(), count


def _pipeline(config: GenerateConfig, device: str) -> Pipeline | RemotePipeline:
    """The generator, loaded here or a server's."""
    if not is_remote(config.generator):
        return Pipeline.load(
            config.generator, tokenizer=config.tokenizer, device=device, dtype=DTYPES[config.dtype]
        )
    if config.tokenizer is not None:
        raise EvaluationError("tokenizer=: a server decodes with its own; leave it out")
    return RemotePipeline(config.generator)


def _side(pipeline: Pipeline | RemotePipeline, asked: int | None) -> int:
    height, width = pipeline.sizes[0]
    if height != width:
        raise EvaluationError(f"the crop of the protocol is square, this generator makes {height}x{width}")
    if asked not in (None, height):
        raise EvaluationError(f"data.resolution={asked}: this generator makes {height}; leave it out")
    return height


def _report(
    job: Job,
    entries: Mapping[str, Computed | NotComputed],
    samples: Samples,
    neighbours: Sequence[Neighbour],
    num_read: int,
) -> Report:
    config, network = job.config, job.pipeline.denoiser
    distances = [neighbour.distance for neighbour in neighbours]
    return Report(
        job="generate",
        protocol=ProtocolRecord.of(job.protocol),
        num_images=len(samples.labels),
        data=DataRecord.of(job.pictures, num_read),
        tokenizer=TokenizerRecord.of(config.tokenizer or config.generator, job.tokenizer, config.dtype, None),
        generator={
            "source": config.generator,
            "spec_id": job.pipeline.spec_id,
            "num_parameters": (
                sum(parameter.numel() for parameter in network.parameters())
                if isinstance(network, nn.Module)
                else 0
            ),
            "num_classes": len(job.pipeline.class_names),
            "labels": "balanced: class i mod classes",
            "seed": config.seed,
            "sampler": config.sampler,
            "num_steps": config.num_steps,
            "guidance": config.guidance,
            "reference": (
                None
                if job.reference is None
                else {"file": job.reference.path.name, "sha256": job.reference.sha256}
            ),
        },
        metrics=dict(entries),
        images_per_s=len(samples.labels) / samples.seconds,
        speed={"batch_size": config.batch_size},
        nearest={
            "metric": METRIC,
            "median": statistics.median(distances),
            "smallest": min(distances),
        },
        machine=machine.describe(job.device),
        commit=machine.commit(),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A sample and its nearest photograph, (3, R, R) uint8 both; mirrored where that is the nearer one."""

    sample: Tensor
    photograph: Tensor
    caption: str


def _shown(job: Job, samples: Samples, neighbours: Sequence[Neighbour]) -> Iterator[tuple[str, list[_Pair]]]:
    """(class name, its first pairs) for the classes that the grid and the page show."""
    made = sorted(set(samples.labels))
    for label in evenly(made, job.config.grid_classes):
        rows = [row for row, other in enumerate(samples.labels) if other == label][
            : job.config.grid_per_class
        ]
        pairs = []
        for row in rows:
            neighbour = neighbours[row]
            photograph, _ = read_crop(neighbour.file, job.pictures.resolution)
            pairs.append(
                _Pair(
                    samples.data[row],
                    photograph.flip(-1) if neighbour.mirrored else photograph,
                    f"seed {job.config.seed + row}; nearest is {neighbour.file.name}"
                    f"{' mirrored' if neighbour.mirrored else ''}, {neighbour.distance:.1f} grey levels away",
                )
            )
        yield job.pipeline.class_names[label], pairs


def _sections(job: Job, shown: Sequence[tuple[str, Sequence[_Pair]]]) -> list[Section]:
    return [
        Section(
            f"Class {name}",
            [
                Figure(
                    [("sample", pair.sample), ("nearest training photograph", pair.photograph)], pair.caption
                )
                for pair in pairs
            ],
            remark=f"Distance: {METRIC}; among all {len(job.pictures.files)} photographs of any class."
            if number == 0
            else "",
        )
        for number, (name, pairs) in enumerate(shown)
    ]


def _write_npz(path: Path, samples: Samples) -> None:
    """ADM's layout, whole or not at all."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    pictures = samples.data.permute(0, 2, 3, 1).numpy()
    np.savez(temporary, pictures, np.asarray(samples.labels, dtype=np.int64))
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
