"""How well a tokenizer gives video back.

``python -m eval.reconstruct_video tokenizer=SOURCE data.path=DIR out=DIR protocol=vidtok``: every clip goes through
the tokenizer, in pieces where it is long, and feeds all metrics of the protocol; ``out`` receives ``report.json``,
``report.html`` with films, ``per_clip.csv``, ``per_frame.csv`` and the films as MP4. A tokenizer of pictures is
measured frame by frame.

Letters: T frames, H W rows and columns.
"""

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from eval import machine
from eval.errors import EvaluationError
from eval.gallery import choose
from eval.measures.video_floor import floor_code
from eval.protocols.video import video_protocol
from eval.reconstruct import BITS_PER_RGB_PIXEL, BITS_PER_VALUE
from eval.report import NotComputed, TokenizerRecord, check_required, write_text
from eval.round_trip import with_any_statistics
from eval.settings import DTYPES
from eval.video.clips import Videos
from eval.video.measuring import Job, film_of, measure
from eval.video.memory import MemoryPoint, stream_memory
from eval.video.page import Film, render
from eval.video.panel import ClipPanel
from eval.video.report import (
    ClipComputed,
    FloorRecord,
    VideoDataRecord,
    VideoProtocolRecord,
    VideoReport,
)
from eval.video.score import ClipScore
from eval.video.settings import ReconstructVideoConfig
from tokenizer.core.config import from_cli, refusals
from tokenizer.loading import connect
from tokenizer.model import Autoencoder

PRESETS = Path(__file__).parent / "configs" / "reconstruct_video"
FLOOR_METRICS = ("psnr", "ssim", "flicker")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ReconstructVideoConfig, "eval.reconstruct_video", PRESETS, argv)
    with refusals("eval.reconstruct_video"):
        report = run(config)
    sys.stdout.write(f"{report.summary()}{config.out / 'report.html'}\n")


def run(config: ReconstructVideoConfig) -> VideoReport:
    """Measure and write; returns the report.

    Raises:
        EvaluationError: if the job cannot run as asked, or a video is corrupt.
    """
    job = prepare(config)
    measure(job)
    entries, scores = job.panel.compute()
    memory = _memory(job)
    report = _report(job, entries, memory)
    films = _chosen(job, scores)
    for name, text in _tables(job, scores).items():
        write_text(config.out / name, text)
    _write_films(config.out / "films", films)
    title = f"Reconstruction of video by {config.tokenizer}"
    write_text(config.out / "report.html", render(report, title, films))
    write_text(config.out / "report.json", report.to_text())
    missing = {name: entry for name, entry in entries.items() if isinstance(entry, NotComputed)}
    check_required(config.require, entries, missing)
    return report


def prepare(config: ReconstructVideoConfig) -> Job:
    """Build every part.

    Raises:
        EvaluationError: naming what does not fit.
    """
    try:
        device = machine.pick_device(config.device)
        protocol = video_protocol(config.protocol, config.data.resolution, config.data.on_corrupt)
        videos = Videos.open(config.data)
        names = config.metrics or protocol.metrics
        panel = ClipPanel(names, protocol, config.weights, device)
        check_required(config.require, dict.fromkeys(panel.names), panel.missing)
        chosen = tuple(name for name in names if name in FLOOR_METRICS)
        floor = ClipPanel(chosen, protocol, config.weights, device) if config.floor and chosen else None
        tokenizer = connect(config.tokenizer, device=str(device), dtype=DTYPES[config.dtype])
        config.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    if isinstance(tokenizer, Autoencoder):  # a server's models have theirs
        with_any_statistics(tokenizer)
    tiles = None if config.tiles is None else config.tiles.plan()
    sampled = protocol.posterior == "sample"
    generator = torch.Generator().manual_seed(protocol.interval.seed) if sampled else None
    return Job(config, protocol, device, tokenizer, videos, panel, floor, tiles, generator)


def _report(
    job: Job, entries: Mapping[str, ClipComputed | NotComputed], memory: tuple[MemoryPoint, ...]
) -> VideoReport:
    config, spec = job.config, job.tokenizer.spec
    pixels = sum(clip.frames * math.prod(clip.size) for clip in job.clips)
    if spec.time == "none":
        bits = sum(clip.frames * spec.bits(clip.size, bits_per_value=BITS_PER_VALUE) for clip in job.clips)
    else:
        bits = sum(spec.bits((clip.frames, *clip.size), bits_per_value=BITS_PER_VALUE) for clip in job.clips)
    kept = job.times - job.first if len(job.clips) > 1 else job.times
    floor = None
    if job.floor is not None:
        code = floor_code(spec, *job.clips[0].size)
        floor = FloorRecord(code=str(code), metrics=job.floor.compute()[0])
    return VideoReport(
        protocol=VideoProtocolRecord.of(job.protocol),
        data=VideoDataRecord.of(job.videos, len(job.clips), sum(clip.frames for clip in job.clips)),
        tokenizer=TokenizerRecord.of(config.tokenizer, job.tokenizer, config.dtype, job.tiles),
        metrics=dict(entries),
        floor=floor,
        bits_per_pixel=bits / pixels,
        compression_ratio=BITS_PER_RGB_PIXEL * pixels / bits,
        frames_per_s=kept.frames / (kept.encode_s + kept.decode_s),
        speed={
            "encode_frames_per_s": kept.frames / kept.encode_s,
            "decode_frames_per_s": kept.frames / kept.decode_s,
            "piece_frames": job.protocol.frames or config.piece_frames,
        },
        memory=memory,
        machine=machine.describe(job.device),
        commit=machine.commit(),
    )


def _memory(job: Job) -> tuple[MemoryPoint, ...]:
    if not job.config.memory_frames:
        return ()
    return stream_memory(
        job.tokenizer,
        job.config.memory_frames,
        job.clips[0].size,
        piece_frames=job.config.piece_frames,
        device=job.device,
        dtype=DTYPES[job.config.dtype],
        tiles=job.tiles,
    )


def _tables(job: Job, scores: Mapping[str, ClipScore]) -> dict[str, str]:
    """``per_clip.csv`` and ``per_frame.csv``."""
    whole = {name: score for name, score in scores.items() if len(score.per_clip) == len(job.clips)}
    clips, frames = io.StringIO(), io.StringIO()
    per_clip, per_frame = (csv.writer(text, lineterminator="\n") for text in (clips, frames))
    per_clip.writerow(["clip", "file", "frames", *whole])
    per_frame.writerow(["clip", "frame", *whole])
    for number, clip in enumerate(job.clips):
        values = [f"{score.per_clip[number]:.6g}" for score in whole.values()]
        per_clip.writerow([number, clip.file, clip.frames, *values])
        columns = [score.per_frame[number] for score in whole.values()]
        for frame, row in enumerate(zip(*columns, strict=True)):
            per_frame.writerow(
                [number, frame, *("" if math.isnan(value) else f"{value:.6g}" for value in row)]
            )
    return {"per_clip.csv": clips.getvalue(), "per_frame.csv": frames.getvalue()}


def _chosen(job: Job, scores: Mapping[str, ClipScore]) -> dict[str, list[Film]]:
    """The worst, middle and best clips by PSNR."""
    if "psnr" not in scores or not job.config.gallery:
        return {}
    psnr = scores["psnr"].per_clip
    order = sorted(range(len(psnr)), key=psnr.__getitem__)
    found: dict[str, list[Film]] = {}
    for title, numbers in choose(order, job.config.gallery).items():
        found[title] = []
        for number in numbers:
            clip = job.clips[number]
            caption = f"{clip.file}, clip {clip.place + 1}: {psnr[number]:.2f} dB, {clip.frames} frames"
            found[title].append(film_of(job, number, caption))
    return found


def _write_films(folder: Path, films: Mapping[str, Sequence[Film]]) -> None:
    if films:
        folder.mkdir(exist_ok=True)
    for title, group in films.items():
        for place, film in enumerate(group):
            (folder / f"{title.split()[0].lower()}-{place}.mp4").write_bytes(film.mp4())


if __name__ == "__main__":
    main()
