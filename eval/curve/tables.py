"""Curves as a chart, as Markdown, as CSV and as a page with the pictures of every number of tokens.

Letters: S pictures shown, R resolution.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape

from torch import Tensor

from eval.compare.page import strip
from eval.compare.plot import TITLES
from eval.curve.record import CountPoint, CurveReport, CurveRow
from eval.page import document, image, table
from eval.plot import Curve, Sheet, chart

REACH = 4.0  # references are drawn from a quarter of the fewest bits to four times the most
SHEET = Sheet(width=900, height=520)
HEAD = ("tokens", "bits/pixel", "PSNR", "patch FD")

_STYLE = """
body { max-width: 1300px; }
.scroll { overflow-x: auto; }
.scroll td { text-align: right; white-space: nowrap; padding-right: 1.1rem; }
.pictures img { height: 96px; image-rendering: pixelated; display: block; border-radius: 3px; }
"""


def rate_quality(report: CurveReport) -> str:
    """PSNR over bits per pixel as one SVG: members as curves, those beside them as points, references thin."""
    curves = []
    for row in report.members:
        if row.points:
            curves.append(_curve(row.label, row.points))
        if row.chosen:
            curves.append(_curve(f"{row.label}, by quality", row.chosen, dashed=True))
    for beside in report.beside:
        says = f"{beside.tokens} tokens, {beside.psnr:.2f} dB at {beside.bits_per_pixel:.3f} bits per pixel"
        curves.append(Curve(beside.label, [(beside.bits_per_pixel, beside.psnr)], [says]))
    rates = [across for curve in curves for across, _ in curve.points]
    for name, points in report.references.items():
        near = [
            (point.bits_per_pixel, point.psnr)
            for point in sorted(points, key=lambda point: point.bits_per_pixel)
            if rates and min(rates) / REACH <= point.bits_per_pixel <= max(rates) * REACH
        ]
        if near:
            curves.append(Curve(TITLES.get(name, name), near, dashed=True))
    return chart(
        "PSNR over bits per pixel",
        curves,
        across=("bits per pixel", "log2"),
        up=("PSNR in dB", "linear"),
        sheet=SHEET,
    )


def summary(report: CurveReport) -> str:
    """A line a member for the terminal."""
    width = max(len(row.label) for row in report.members)
    lines = []
    for row in report.members:
        shown = ", ".join(f"{round(point.tokens)}: {point.psnr:.2f}" for point in row.points)
        lines.append(f"{row.label:{width}s}  {row.why or f'dB by tokens: {shown}'}")
    return "\n".join(lines) + "\n"


def markdown(report: CurveReport) -> str:
    """Where the numbers come from, and a table a member."""
    blocks = [f"`{report.command}`", lead(report)]
    for row in report.members:
        blocks.append(f"`{row.label}`: {verdict(row)}")
        if row.points:
            blocks.append(_grid(HEAD, [_cells(point) for point in row.points]))
        if row.chosen:
            head = ("dB asked for", "reached by", "fewest, most", *HEAD)
            blocks.append(_grid(head, [_chosen_cells(point) for point in row.chosen]))
    if report.beside:
        rows = [
            (f"`{row.label}`", str(row.tokens), f"{row.bits_per_pixel:.4f}", f"{row.psnr:.2f}")
            for row in report.beside
        ]
        blocks += ["Beside them, of fixed length:", _grid(("tokenizer", *HEAD[:3]), rows)]
    return "\n\n".join(blocks) + "\n"


def verdict(row: CurveRow) -> str:
    """Whether quality ever falls with more tokens, in words."""
    if row.why:
        return f"not measured. {row.why}"
    if not row.falls:
        return "PSNR never falls with more tokens."
    return "PSNR falls from " + ", ".join(f"{before} to {after} tokens" for before, after in row.falls) + "."


def csv_text(report: CurveReport) -> str:
    """One line a point, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["tokenizer", "kind", "tokens", "bits_per_pixel", "psnr", "patch_frechet", "quality", "reached"]
    )
    for row in report.members:
        for kind, points in (("count", row.points), ("quality", row.chosen)):
            for point in points:
                numbers = [point.tokens, point.bits_per_pixel, point.psnr, point.patch_frechet]
                extra = ["" if value is None else f"{value:.8g}" for value in (point.quality, point.reached)]
                writer.writerow([row.label, kind, *(f"{value:.8g}" for value in numbers), *extra])
    for beside in report.beside:
        writer.writerow(
            [
                beside.label,
                "fixed",
                beside.tokens,
                f"{beside.bits_per_pixel:.8g}",
                f"{beside.psnr:.8g}",
                "",
                "",
                "",
            ]
        )
    return text.getvalue()


def lead(report: CurveReport) -> str:
    """What was done, in words."""
    machine = report.machine
    return (
        f"Each tokenizer trained on {report.budget} at {report.resolution} x {report.resolution}; measured on "
        f"{report.data.num_used} held-out pictures under {report.protocol.name} `{report.protocol.hash}`. Bits are "
        "those of what is sent: codes, or continuous values rounded to the fewest bits that cost at most 0.1 dB; where "
        f"each picture has its own number of tokens, that number is not counted. {machine.processor}, "
        f"{machine.device}, {machine.threads} threads, torch {machine.torch}; commit {report.commit or 'unknown'}; "
        f"{report.seconds:.0f} s."
    )


def page(report: CurveReport, original: Tensor, shown: Mapping[str, Mapping[int, Tensor]]) -> str:
    """The whole page.

    Args:
        report: all numbers.
        original: held-out pictures that are shown, uint8 (S, 3, R, R).
        shown: the same as members made them, by label and number of tokens.
    """
    title = "Quality over the number of tokens"
    body = [f"<h1>{title}</h1>", f'<p class="lead">{escape(lead(report))}</p>', rate_quality(report)]
    for row in report.members:
        body += [f"<h2>{escape(row.label)}</h2>", f"<p>{escape(verdict(row))}</p>"]
        lines = [_strip("original", original)] if shown.get(row.label) else []
        for count, pictures in sorted(shown.get(row.label, {}).items()):
            scores = [point.psnr for point in row.points if point.tokens == count]
            lines.append(
                _strip(f"{count} tokens, {scores[0]:.2f} dB" if scores else f"{count} tokens", pictures)
            )
        body.append(f'<div class="scroll pictures"><table>{"".join(lines)}</table></div>')
    body.append(table("Protocol", report.protocol.settings.lines()))
    body.append(table("Where the numbers come from", [("command", report.command)]))
    return document(title, body, _STYLE)


def _curve(name: str, points: Sequence[CountPoint], *, dashed: bool = False) -> Curve:
    says = [
        f"{point.tokens:g} tokens, {point.psnr:.2f} dB at {point.bits_per_pixel:.3f} bits per pixel"
        for point in points
    ]
    return Curve(name, [(point.bits_per_pixel, point.psnr) for point in points], says, dashed)


def _cells(point: CountPoint) -> tuple[str, ...]:
    return (
        f"{point.tokens:.1f}".removesuffix(".0"),
        f"{point.bits_per_pixel:.4f}",
        f"{point.psnr:.2f}",
        f"{point.patch_frechet:.4f}",
    )


def _chosen_cells(point: CountPoint) -> tuple[str, ...]:
    fewest, most = point.spread or (0, 0)
    return (
        f"{point.quality or 0:g}",
        f"{100 * (point.reached or 0):.0f} %",
        f"{fewest}, {most}",
        *_cells(point),
    )


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _strip(name: str, pictures: Tensor) -> str:
    return f"<tr><th>{escape(name)}</th><td>{image(name, strip(pictures))}</td></tr>"
