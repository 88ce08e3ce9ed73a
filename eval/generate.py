"""What a generator makes: gFID, a grid of all classes, and the photograph nearest to each sample.

``python -m eval.generate generator=SOURCE tokenizer=SOURCE data.path=TRAINING_PICTURES out=DIR``; ``out``
receives ``report.json``, ``report.html``, ``grid.png`` and ``samples.npz`` (``arr_0`` (N, H, W, 3) uint8 and
``arr_1`` labels, as ADM's evaluator reads them). Samples and features are made in shards, see ``eval.shards``: killed,
the job goes on, in any number of processes.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from eval import machine, processes
from eval.generator import Job, prepare
from eval.grid import class_grid
from eval.job import workplace
from eval.nearest import METRIC, Neighbour
from eval.page import render
from eval.pairs import pairs, sections
from eval.photographs import Photographs
from eval.report import (
    Computed,
    DataRecord,
    NotComputed,
    ProtocolRecord,
    Report,
    TokenizerRecord,
    check_required,
    not_computed,
    read_report,
    write_text,
)
from eval.samples import Samples, Sampling, make
from eval.settings import GenerateConfig
from tokenizer.core.config import from_cli, refusals
from tokenizer.core.distributed import num_processes

PRESETS = Path(__file__).parent / "configs" / "generate"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(GenerateConfig, "eval.generate", PRESETS, argv)
    with refusals("eval.generate"), processes.joined():
        report = run(config)
        if processes.is_first():
            sys.stdout.write(f"{report.summary()}{config.out / 'report.html'}\n{config.out / 'grid.png'}\n")


def run(config: GenerateConfig) -> Report:
    """Generate, measure and write; returns the report, in every process that shares the job.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    with workplace(config):
        job = prepare(config)
        samples = Samples.of(job, Sampling(config.guidance, config.num_steps))
        photographs = Photographs.of(job, samples)
        make(job, samples, to_come=len(photographs))
        photographs.read(job, before=len(samples))
        report = finish(job, config, samples, photographs) if processes.is_first() else None
        processes.wait()
    return report or read_report(config.out)


def finish(job: Job, config: GenerateConfig, samples: Samples, photographs: Photographs) -> Report:
    """Merge the shards, compute, write everything, and forget the shards."""
    seconds = samples.collect(job)
    neighbours, num_read = photographs.collect(job)
    entries, _ = job.panel.compute()
    report = report_of(job, samples, seconds, entries, neighbours, num_read)
    shown = list(pairs(job, config, samples, neighbours))
    samples.write_npz(config.out / "samples.npz")
    rows = [(name, [(pair.sample, pair.photograph) for pair in found]) for name, found in shown]
    class_grid(rows, "in each pair: sample, nearest training photograph").save(config.out / "grid.png")
    title = f"Generation by {config.generator}"
    write_text(config.out / "report.html", render(report, title, sections(job, shown)))
    write_text(config.out / "report.json", report.to_text())
    samples.shards.remove()
    photographs.remove()
    check_required(config.require, entries, not_computed(entries))
    return report


def report_of(
    job: Job,
    samples: Samples,
    seconds: float,
    entries: Mapping[str, Computed | NotComputed],
    neighbours: Sequence[Neighbour],
    num_read: int,
) -> Report:
    """The record of one set of samples; ``seconds`` is what one process would have needed to make it."""
    config = job.config
    return Report(
        job="generate",
        protocol=ProtocolRecord.of(job.protocol),
        num_images=len(samples),
        data=DataRecord.of(job.pictures, num_read),
        tokenizer=TokenizerRecord.of(config.tokenizer or config.generator, job.tokenizer, config.dtype, None),
        generator=_generator(job, samples.sampling),
        metrics=dict(entries),
        images_per_s=len(samples) / seconds,
        speed={"batch_size": config.batch_size, "processes": num_processes()},
        nearest=_nearest(neighbours),
        machine=machine.describe(job.device),
        commit=machine.commit(),
    )


def _nearest(neighbours: Sequence[Neighbour]) -> dict[str, float | str] | None:
    distances = [neighbour.distance for neighbour in neighbours]
    if not distances:
        return None
    return {"metric": METRIC, "median": statistics.median(distances), "smallest": min(distances)}


def _generator(job: Job, sampling: Sampling) -> dict[str, Any]:  # JSON
    config, network = job.config, job.pipeline.denoiser
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else list[nn.Parameter]()
    return {
        "source": config.generator,
        "spec_id": job.pipeline.spec_id,
        "num_parameters": sum(parameter.numel() for parameter in parameters),
        "num_classes": len(job.pipeline.class_names),
        "labels": "balanced: class i mod classes",
        "seed": config.seed,
        "sampler": config.sampler,
        "num_steps": sampling.num_steps,
        "guidance": sampling.guidance,
        "reference": (
            None
            if job.reference is None
            else {"file": job.reference.path.name, "sha256": job.reference.sha256}
        ),
    }


if __name__ == "__main__":
    main()
