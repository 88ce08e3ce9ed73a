"""How well a tokenizer gives pictures back.

``python -m eval.reconstruct tokenizer=SOURCE data.path=DIR data.resolution=N out=DIR``: one pass encodes and
decodes every picture and feeds all metrics of the protocol; ``out`` receives ``report.json``, ``report.html``,
``per_image.csv``, and the numbers as CSV, Markdown and LaTeX. The pass goes in shards, see ``eval.shards``: killed, it
goes on, in any number of processes.

Letters: B pictures, R resolution.
"""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from eval import machine, processes
from eval.data import Pictures, read_crop
from eval.gallery import gallery
from eval.job import build_panels, check_panel, refused, workplace
from eval.latent_health import LatentHealth
from eval.metrics import Score
from eval.one_pass import Job, Measured, collect, measure, reconstruct, shards_of
from eval.page import Section, render
from eval.pixels import as_seen
from eval.probes import Probes, Subject, probe
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
    read_report,
    write_text,
)
from eval.round_trip import Speed, with_any_statistics
from eval.settings import DTYPES, ReconstructConfig
from eval.shards import Shards
from eval.slices import members, sliced
from eval.tables import csv_text, latex, markdown
from tokenizer.adapters.remote import RemoteTokenizer
from tokenizer.core.config import from_cli, refusals
from tokenizer.core.distributed import num_processes
from tokenizer.loading import connect
from tokenizer.model import Autoencoder

PRESETS = Path(__file__).parent / "configs" / "reconstruct"
BITS_PER_VALUE = 16
BITS_PER_RGB_PIXEL = 24
LATENTS = "latents"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ReconstructConfig, "eval.reconstruct", PRESETS, argv)
    with refusals("eval.reconstruct"), processes.joined():
        report = run(config)
        if processes.is_first():
            sys.stdout.write(f"{report.summary()}{config.out / 'report.html'}\n")


def run(config: ReconstructConfig) -> Report:
    """Measure and write; returns the report, in every process that shares the job.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    with workplace(config):
        job = prepare(config)
        shards = shards_of(job)
        measure(job, shards)
        report = finish(job, shards) if processes.is_first() else None
        processes.wait()
    return report or read_report(config.out)


def prepare(config: ReconstructConfig) -> Job:
    """Build every part.

    Raises:
        EvaluationError: naming what does not fit.
    """
    with refused():
        device = processes.own_device(config.device)
        pictures = Pictures.open(config.data)
        names = (config.protocol, *config.also)
        panels = build_panels(config, names, pictures.resolution, lambda named: named.reconstruction, device)
        _check_shared(config, panels)
        check_panel(config, panels[0])
        members(config.slices, [file.name for file in pictures.files])
        tokenizer = connect(config.tokenizer, device=str(device), dtype=DTYPES[config.dtype])
        config.out.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, Autoencoder):  # a server's models have theirs
        with_any_statistics(tokenizer)
    tiles = None if config.tiles is None else config.tiles.plan()
    gatherers = {LATENTS: LatentHealth(tokenizer.spec)}
    return Job(config, device, tokenizer, pictures, panels, tiles, gatherers)


def _check_shared(config: ReconstructConfig, panels: Sequence[Panel]) -> None:
    """ValueError if a protocol cannot share the first one's pass, or does not measure reconstructions."""
    protocols = [panel.protocol for panel in panels]
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
    if len({other.name for other in protocols}) < len(protocols):
        raise ValueError(f"also={','.join(config.also)}: each protocol once")


def finish(job: Job, shards: Shards) -> Report:
    """Merge the shards, compute, write all reports, and forget the shards; the first protocol's report."""
    measured = collect(job, shards)
    probes = _probed(job)
    reports = [
        _write(job, measured, panel, probes if panel is job.panels[0] else Probes()) for panel in job.panels
    ]
    shards.remove()
    first = reports[0]
    check_required(job.config.require, first.metrics, not_computed(first.metrics))
    return first


def _probed(job: Job) -> Probes:
    """What costs more encodes, if it is asked for; under the first protocol."""
    config = job.config
    subject = Subject(
        tokenizer=job.tokenizer,
        pictures=job.pictures,
        protocol=job.protocol,
        device=job.device,
        dtype=DTYPES[config.dtype],
        tiles=job.tiles,
        batch_size=config.batch_size,
        folder=config.out,
    )
    return probe(subject, config.probes, health=config.health, rate=config.rate, cost=config.cost)


def _write(job: Job, measured: Measured, panel: Panel, probes: Probes) -> Report:
    """Compute one protocol's metrics and write its report: the first in ``out``, the others below."""
    folder = job.config.out if panel is job.panels[0] else job.config.out / panel.protocol.name
    folder.mkdir(exist_ok=True)
    entries, scores = panel.compute()
    names = [file.name for file in measured.files]
    parts = sliced(job.config.slices, names, entries, scores, panel.protocol)
    report = _report(job, measured, panel, entries, parts, probes)
    title = f"Reconstruction by {job.config.tokenizer}"
    write_text(folder / "per_image.csv", _per_image(measured, scores))
    write_text(folder / "report.html", render(report, title, _gallery(job, measured, scores)))
    write_text(folder / "report.csv", csv_text(report))
    write_text(folder / "report.md", markdown(report, job.config.tokenizer))
    write_text(folder / "report.tex", latex(report, job.config.tokenizer))
    write_text(folder / "report.json", report.to_text())
    return report


def _report(
    job: Job,
    measured: Measured,
    panel: Panel,
    entries: Mapping[str, Computed | NotComputed],
    slices: dict[str, dict[str, Computed]],
    probes: Probes,
) -> Report:
    config, side = job.config, job.pictures.resolution
    latents = job.gatherers[LATENTS]
    assert isinstance(latents, LatentHealth)  # prepare() made it
    bits = job.tokenizer.spec.bits((side, side), bits_per_value=BITS_PER_VALUE) / (side * side)
    speed = Speed.over(measured.times)
    return Report(
        job="reconstruct",
        protocol=ProtocolRecord.of(panel.protocol),
        num_images=len(measured.files),
        data=DataRecord.of(job.pictures, len(measured.files), measured.content[:16]),
        tokenizer=TokenizerRecord.of(config.tokenizer, job.tokenizer, config.dtype, job.tiles),
        metrics=dict(entries),
        bits_per_pixel=bits,
        compression_ratio=BITS_PER_RGB_PIXEL / bits,
        images_per_s=speed.both,
        speed={
            "encode_images_per_s": speed.encode,
            "decode_images_per_s": speed.decode,
            "batch_size": config.batch_size,
            "processes": num_processes(),
            **(job.tokenizer.timings() if isinstance(job.tokenizer, RemoteTokenizer) else {}),
        },
        slices=slices,
        latents=latents.compute(len(measured.files) * side * side),
        health=probes.health,
        rate=probes.rate,
        cost=probes.cost,
        machine=machine.describe(job.device),
        commit=machine.commit(),
    )


def _per_image(measured: Measured, scores: Mapping[str, Score]) -> str:
    columns = {name: score.per_image for name, score in scores.items() if score.per_image}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", *columns])
    for index, file in enumerate(measured.files):
        values = (f"{column[index]:.6g}" for column in columns.values())
        table.writerow([file.name, *values])
    return text.getvalue()


def _gallery(job: Job, measured: Measured, scores: Mapping[str, Score]) -> list[Section]:
    """The worst, middle and best pictures by PSNR, made once more for the page (a sampled posterior: drawn anew)."""
    if "psnr" not in scores:
        return []

    def remake(index: int) -> tuple[Tensor, Tensor]:
        read, _ = read_crop(measured.files[index], job.pictures.resolution, job.protocol.crop)
        fake = reconstruct(job, read.unsqueeze(0), index).fake[0]
        return as_seen(read, "round_uint8", "uint8"), fake

    names = [file.name for file in measured.files]
    return gallery(scores["psnr"].per_image, names, remake, job.config.gallery)


if __name__ == "__main__":
    main()
