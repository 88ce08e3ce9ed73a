"""The rows as Markdown, as CSV and as a page with samples of every tokenizer's generator.

Letters: S samples shown, R resolution.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from torch import Tensor

from eval.compare.page import strip
from eval.downstream.record import SPACE, DownstreamReport, DownstreamRow, PatchNumbers
from eval.page import document, image, table

Cell = Callable[[DownstreamReport, DownstreamRow], str]

_STYLE = """
body { max-width: 1500px; }
.scroll { overflow-x: auto; }
.scroll td, .scroll th { white-space: nowrap; padding-right: 1.1rem; }
.scroll td { text-align: right; }
.pictures img { height: 96px; image-rendering: pixelated; display: block; border-radius: 3px; }
"""


def _mean(found: PatchNumbers | None) -> float | None:
    return None if found is None else found.mean


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its title, what it says, and how a row fills it."""

    title: str
    says: str
    cell: Cell


COLUMNS = (
    Column(
        "latent",
        "channels, then the grid or the row",
        lambda _, row: "x".join(map(str, row.latent_shape)) or "-",
    ),
    Column("values", "numbers of a latent, which the generator makes", lambda _, row: str(row.values or "-")),
    Column("PSNR", "dB of reconstructed held-out pictures", lambda _, row: _number(row.psnr, 2)),
    Column(
        "patch FD, reconstructed",
        "of reconstructed held-out pictures from the held-out pictures; lower is better",
        lambda _, row: _number(_mean(row.reconstruction), 4),
    ),
    Column(
        "rank",
        "by the patch FD of reconstructions",
        lambda report, row: str(report.rank(row, "reconstruction") or "-"),
    ),
    Column(
        "patch FD, generated",
        "of samples from the training pictures; lower is better",
        lambda _, row: _number(_mean(row.generation), 4),
    ),
    Column(
        "rank", "by the patch FD of samples", lambda report, row: str(report.rank(row, "generation") or "-")
    ),
    Column(
        "loss",
        "of the generator, in normalised latents, so not comparable between tokenizers",
        lambda _, row: _number(row.loss, 3),
    ),
    Column(
        "M params", "of the tokenizer, in millions", lambda _, row: _number(row.tokenizer_parameters / 1e6, 2)
    ),
    Column(
        "M generator",
        "its parameters, in millions",
        lambda _, row: _number(row.generator_parameters / 1e6, 2),
    ),
)


def summary(report: DownstreamReport) -> str:
    """A line a tokenizer for the terminal, the best generator first."""
    width = max(len(row.label) for row in report.members)
    lines = []
    for row in report.by_generation():
        shown = f"{row.status}: {row.why}"
        if row.generation is not None and row.reconstruction is not None:
            shown = (
                f"generated {row.generation.mean:.4f}, reconstructed {row.reconstruction.mean:.4f}, "
                f"PSNR {_number(row.psnr, 2)}"
            )
        lines.append(f"{row.label:{width}s}  {shown}")
    return "\n".join(lines) + "\n"


def markdown(report: DownstreamReport) -> str:
    """Where the numbers come from, and the table."""
    lines = [
        "| tokenizer | " + " | ".join(column.title for column in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for row in report.by_generation():
        cells = [column.cell(report, row) for column in COLUMNS]
        lines.append(f"| `{row.label}` | " + " | ".join(cells) + " |")
    notes = [f"* {row.label}: {row.status}. {row.why}" for row in report.members if row.why]
    blocks = [f"`{report.command}`", lead(report), "\n".join(lines), *(["\n".join(notes)] if notes else [])]
    return "\n\n".join(blocks) + "\n"


def lead(report: DownstreamReport) -> str:
    """What was done, in words."""
    machine = report.machine
    return (
        f"A generator of the same size for each tokenizer, trained on {report.images} latents of the same "
        f"{report.training_pictures.count} pictures at {report.resolution} x {report.resolution}; "
        f"{report.num_samples} samples each ({report.sampling}) against {report.num_reference} of these pictures. "
        f"Patch FD: {SPACE}. Held-out photographs ({report.num_held_out}) have "
        f"{report.photographs.mean:.4f}. {machine.processor}, {machine.device}, {machine.threads} threads, "
        f"torch {machine.torch}; commit {report.commit or 'unknown'}; {report.seconds:.0f} s."
    )


def csv_text(report: DownstreamReport) -> str:
    """One line a tokenizer, numbers unrounded and every scale."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scales = sorted(report.photographs.scales, reverse=True)
    numbers = [f"{what}_{scale}" for what in ("reconstruction", "generation") for scale in ("mean", *scales)]
    writer.writerow(["tokenizer", "status", "values", "psnr", *numbers, "loss", "remark"])
    for row in report.members:
        cells = [row.label, row.status, str(row.values), _raw(row.psnr)]
        for found in (row.reconstruction, row.generation):
            cells.append(_raw(_mean(found)))
            cells += [_raw(None if found is None else found.scales.get(scale)) for scale in scales]
        writer.writerow([*cells, _raw(row.loss), row.why])
    return text.getvalue()


def page(report: DownstreamReport, shown: Mapping[str, Tensor], photographs: Tensor) -> str:
    """The whole page.

    Args:
        report: all numbers.
        shown: samples by label, uint8 (S, 3, R, R).
        photographs: some training pictures, uint8 (S, 3, R, R).
    """
    title = "Which tokenizer generates best"
    head = "".join(
        f'<th title="{escape(column.says, quote=True)}">{escape(column.title)}</th>' for column in COLUMNS
    )
    lines = [f"<tr><th>tokenizer</th>{head}</tr>"]
    pictures = [_strip("photographs", photographs)]
    for row in report.by_generation():
        cells = "".join(f"<td>{escape(column.cell(report, row))}</td>" for column in COLUMNS)
        lines.append(f"<tr><th>{escape(row.label)}</th>{cells}</tr>")
        if row.label in shown:
            pictures.append(_strip(row.label, shown[row.label]))
    notes = "".join(
        f"<li>{escape(f'{row.label}: {row.status}. {row.why}')}</li>" for row in report.members if row.why
    )
    body = [
        f"<h1>{title}</h1>",
        f'<p class="lead">{escape(lead(report))}</p>',
        f"<ul>{notes}</ul>" if notes else "",
        f'<div class="scroll"><table>{"".join(lines)}</table></div>',
        "<h2>Samples</h2>",
        f'<div class="scroll pictures"><table>{"".join(pictures)}</table></div>',
        table("What the columns say", [(column.title, column.says) for column in COLUMNS]),
        table(
            "Where the numbers come from",
            [("command", report.command), ("commit", report.commit or "unknown")],
        ),
    ]
    return document(title, body, _STYLE)


def _strip(name: str, pictures: Tensor) -> str:
    return f"<tr><th>{escape(name)}</th><td>{image(name, strip(pictures))}</td></tr>"


def _raw(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
