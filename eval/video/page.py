"""The page of an evaluation of video: filmstrips and films inside it, memory against frames as a plot.

Letters: T frames, H W rows and columns.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape

import numpy as np
import torch
from torch import Tensor

from eval.page import difference, document, image, machine_rows, table
from eval.report import NotComputed
from eval.video.memory import MemoryPoint
from eval.video.report import ClipComputed, VideoReport
from tokenizer.data.video_writer import to_mp4

STRIP_FRAMES = 6
STRIP_WIDTH = 1200
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 280, 70, 20, 46
STYLE = """
.strip img, video { width: 100%; display: block; border-radius: 3px; margin-bottom: 4px; }
.film { margin: 0 0 1.2rem; }
"""


@dataclass(frozen=True, slots=True)
class Film:
    """A clip and its reconstruction, as far as they are shown.

    Attributes:
        caption: plain text.
        real, fake: (T, 3, H, W) uint8.
        rate: frames per second.
    """

    caption: str
    real: Tensor
    fake: Tensor
    rate: Fraction

    def mp4(self) -> bytes:
        """Original and reconstruction side by side."""
        both = torch.cat([self.real, self.fake], dim=3).permute(0, 2, 3, 1)
        return to_mp4(np.ascontiguousarray(both.numpy()), self.rate)

    def strip(self) -> Tensor:
        """Rows of original, reconstruction and difference x 4 at some frames: uint8 (3, H', W')."""
        count = min(STRIP_FRAMES, len(self.real))
        chosen = [index * (len(self.real) - 1) // max(1, count - 1) for index in range(count)]
        rows = [
            torch.cat(list(part[chosen]), dim=2)
            for part in (self.real, self.fake, difference(self.real, self.fake))
        ]
        whole = torch.cat(rows, dim=1)
        shrink = -(-whole.shape[2] // STRIP_WIDTH)
        if shrink == 1:
            return whole
        small = torch.nn.functional.avg_pool2d(whole.float(), shrink)
        return small.round().to(torch.uint8)


def render(report: VideoReport, title: str, films: dict[str, list[Film]]) -> str:
    """The whole page."""
    data, protocol = report.data, report.protocol
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{data.num_clips} clips, {data.num_frames} frames, protocol '
        f"<strong>{escape(protocol.name)}</strong> <code>{protocol.hash}</code></p>",
        _metrics(report),
    ]
    for heading, group in films.items():
        body.append(f"<h2>{escape(heading)}</h2>{''.join(_film(film) for film in group)}")
    if report.memory:
        body.append(f"<h2>Peak memory against frames</h2>{plot(report.memory)}")
    body += [
        table("Protocol", protocol.settings.lines()),
        table("Where the numbers come from", _origin(report)),
    ]
    # films lie inside the page as pictures do, and a page may show nothing that its policy does not name
    return document(title, body, STYLE).replace("img-src data:", "img-src data:; media-src data:", 1)


def plot(points: Sequence[MemoryPoint]) -> str:
    """Peak memory in MiB against frames, as one SVG from 0 on."""
    most_frames = max(point.frames for point in points)
    most = max(point.peak_mib for point in points) or 1.0
    right, foot = WIDTH - 20, HEIGHT - BOTTOM

    def place(point: MemoryPoint) -> tuple[float, float]:
        x = LEFT + (right - LEFT) * point.frames / most_frames
        return x, foot - (foot - TOP) * point.peak_mib / (1.1 * most)

    marks, line = [], []
    for point in sorted(points, key=lambda point: point.frames):
        x, y = place(point)
        line.append(f"{x:.1f},{y:.1f}")
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#3465b0"><title>{point.frames} frames: '
            f'{point.peak_mib:.1f} MiB</title></circle><text x="{x:.1f}" y="{foot + 18}" '
            f'text-anchor="middle">{point.frames}</text><text x="{x:.1f}" y="{y - 9:.1f}" '
            f'text-anchor="middle">{point.peak_mib:.0f}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor"><title>Peak memory in MiB '
        f'against frames</title><line x1="{LEFT}" y1="{foot}" x2="{right}" y2="{foot}" stroke="currentColor" '
        f'stroke-opacity="0.3"/><polyline points="{" ".join(line)}" fill="none" stroke="#3465b0" stroke-width="2"/>'
        f'{"".join(marks)}<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">frames</text>'
        f'<text x="8" y="{TOP}">MiB</text></svg>'
    )


def _metrics(report: VideoReport) -> str:
    rows = [_row(name, metric, report) for name, metric in report.metrics.items()]
    rows.append(
        f'<tr><th>bits per pixel</th><td class="number">{report.bits_per_pixel:.4f}</td><td colspan="4">the latents, '
        f"16 bits a continuous value; {report.compression_ratio:.1f} times smaller than 24-bit pixels</td></tr>"
    )
    speed = ", ".join(f"{key} {_number(value)}" for key, value in report.speed.items())
    rows.append(
        f'<tr><th>frames/s</th><td class="number">{report.frames_per_s:.2f}</td>'
        f'<td colspan="4">{escape(f"{report.machine.device}, {speed}")}</td></tr>'
    )
    head = "<tr><th>metric</th><th>value</th><th>95 % interval</th><th>clips</th><th>floor</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _row(name: str, metric: ClipComputed | NotComputed, report: VideoReport) -> str:
    if isinstance(metric, NotComputed):
        text = escape(f"not computed: needs {metric.not_computed}. Put it {metric.put}.")
        return f'<tr class="missing"><th>{escape(name)}</th><td colspan="5">{text}</td></tr>'
    floor = report.floor.metrics.get(name) if report.floor is not None else None
    beside = _number(floor.value) if isinstance(floor, ClipComputed) else "-"
    arrow = "higher is better" if metric.higher_is_better else "lower is better"
    details = ", ".join(f"{key} {_number(value)}" for key, value in metric.details.items())
    return (
        f'<tr><th>{escape(name)}</th><td class="number">{_number(metric.value)}</td>'
        f"<td>{_number(metric.ci95[0])} to {_number(metric.ci95[1])}</td><td>{metric.num_clips}</td>"
        f"<td>{beside}</td><td>{arrow}; {escape(details)}</td></tr>"
    )


def _film(film: Film) -> str:
    data = base64.b64encode(film.mp4()).decode("ascii")
    return (
        f'<figure class="film strip"><video controls loop muted src="data:video/mp4;base64,{data}"></video>'
        f"{image('original, reconstruction, difference x 4', film.strip())}"
        f"<figcaption>{escape(film.caption)}<br>film: original | reconstruction; strip: original, reconstruction, "
        "difference x 4</figcaption></figure>"
    )


def _origin(report: VideoReport) -> list[tuple[str, str]]:
    data, tokenizer, machine = report.data, report.tokenizer, report.machine
    rows = [
        (
            "tokenizer",
            f"{tokenizer.source} ({tokenizer.num_parameters / 1e6:.1f}M parameters, {tokenizer.dtype})",
        ),
        ("spec_id", tokenizer.spec_id or "none: never saved"),
        ("videos", f"{data.path}: {data.num_files} of {data.num_found}, frames {data.content}"),
    ]
    if report.floor is not None:
        rows.append(("floor", report.floor.code))
    if tokenizer.tiles:
        rows.append(("tiles", tokenizer.tiles))
    rows += [("skipped", sentence) for sentence in data.skipped]
    rows += [
        (
            f"weights of {name}",
            f"{entry.file} sha256 {entry.sha256}" + ("" if entry.verified else " NOT verified"),
        )
        for name, metric in report.metrics.items()
        if isinstance(metric, ClipComputed)
        for entry in metric.weights
    ]
    return rows + machine_rows(machine, report.commit)


def _number(value: float | int | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
