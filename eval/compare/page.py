"""A comparison as one HTML file: plot, tables, promises, and all pictures side by side.

Letters: S pictures shown, R resolution.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from eval.compare.columns import COLUMNS
from eval.compare.plot import rate_distortion
from eval.compare.record import Comparison, MemberRow, PromiseRow, ReferenceRow
from eval.compare.tables import latent_columns, main_columns, remarks, title_of
from eval.page import document, image, table
from tokenizer.data.transforms import as_bytes

_STYLE = """
body { max-width: 1500px; }
.scroll { overflow-x: auto; }
.scroll td, .scroll th { white-space: nowrap; padding-right: 1.1rem; }
.scroll td { text-align: right; }
.reference { opacity: .65; }
.pictures img { height: 96px; image-rendering: pixelated; display: block; border-radius: 3px; }
.pictures table { width: auto; }
.pictures td { padding: .25rem .8rem .25rem 0; text-align: left; }
"""
GAP = 4


def strip(pictures: Tensor) -> Tensor:
    """uint8 (S, 3, R, R) -> one picture (3, R, S R + gaps), white between them."""
    gap = torch.full((3, pictures.shape[-2], GAP), 255, dtype=torch.uint8)
    parts: list[Tensor] = []
    for picture in pictures:
        parts += [picture, gap]
    return torch.cat(parts[:-1], dim=2)


def unstrip(picture: Tensor) -> Tensor:
    """The inverse of ``strip``: (3, R, S R + gaps) -> (S, 3, R, R)."""
    side = picture.shape[1]
    count = (picture.shape[2] + GAP) // (side + GAP)
    lefts = [index * (side + GAP) for index in range(count)]
    return torch.stack([picture[:, :, left : left + side] for left in lefts])


def read_strip(file: Path) -> Tensor:
    """A strip as it was saved -> its pictures (S, 3, R, R)."""
    with Image.open(file) as image:
        return unstrip(as_bytes(image.convert("RGB")).permute(2, 0, 1))


def render(comparison: Comparison, original: Tensor, shown: Mapping[str, Tensor]) -> str:
    """The whole page.

    Args:
        comparison: all numbers.
        original: the held-out pictures that are shown, uint8 (S, 3, R, R).
        shown: the same as rows made them, by ``title_of`` and, for references, the budget (``picture_key``).
    """
    title = "Tokenizers on one budget"
    side = comparison.resolution
    body = [
        f"<h1>{title}</h1>",
        f'<p class="lead">{escape(comparison.budget)} each at {side} x {side}, measured on '
        f"{comparison.data.num_used} held-out pictures, protocol <strong>{escape(comparison.protocol.name)}"
        f"</strong> <code>{comparison.protocol.hash}</code></p>",
        *_notes(remarks(comparison)),
        rate_distortion(comparison),
        "<h2>All rows, by bits</h2>",
        _grid(comparison.rows(), main_columns(comparison, run=True)),
    ]
    latents = latent_columns(comparison)
    if latents:
        done = [row for row in comparison.members if row.status == "done"]
        body += ["<h2>Latents</h2>", _grid(done, latents)]
    if comparison.promises:
        body += ["<h2>Promises</h2>", _promises(comparison.promises)]
    body += ["<h2>Pictures</h2>", _pictures(comparison, original, shown)]
    body += [
        table("What the columns say", _meanings(comparison)),
        table("Protocol", comparison.protocol.settings.lines()),
        table("Where the numbers come from", _origin(comparison)),
    ]
    return document(title, body, _STYLE)


def picture_key(row: MemberRow | ReferenceRow) -> str:
    """What a row's pictures are filed under."""
    return row.label if isinstance(row, MemberRow) else f"{row.kind}@{row.budget:.3f}"


def _notes(notes: Sequence[str]) -> list[str]:
    return ["<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"] if notes else []


def _grid(rows: Sequence[MemberRow | ReferenceRow], columns: Sequence[str]) -> str:
    head = "".join(
        f'<th title="{escape(COLUMNS[name].says, quote=True)}">{escape(COLUMNS[name].title)}</th>'
        for name in columns
    )
    lines = [f"<tr><th>tokenizer</th>{head}</tr>"]
    for row in rows:
        cells = "".join(
            f"<td>{escape(COLUMNS[name].write(row.numbers.values.get(name)))}</td>" for name in columns
        )
        kind = "" if isinstance(row, MemberRow) else ' class="reference"'
        lines.append(f"<tr{kind}><th>{escape(title_of(row))}</th>{cells}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _promises(promises: Sequence[PromiseRow]) -> str:
    lines = ["<tr><th>promise</th><th>number</th><th>with</th><th>without</th><th>better</th><th></th></tr>"]
    for row in promises:
        promise, column = row.promise, COLUMNS[row.promise.improves]
        cells = [
            f"{promise.member} over {promise.against}",
            column.title,
            column.write(row.value),
            column.write(row.against),
            row.verdict(),
            promise.because,
        ]
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _pictures(comparison: Comparison, original: Tensor, shown: Mapping[str, Tensor]) -> str:
    lines = [_strip_row("original", "", original)]
    for row in comparison.rows():
        pictures = shown.get(picture_key(row))
        if pictures is not None:
            values = row.numbers.values
            numbers = [COLUMNS[name].write(values.get(name)) for name in ("psnr", "bits_per_pixel")]
            lines.append(_strip_row(title_of(row), f"{numbers[0]} dB, {numbers[1]} bits/pixel", pictures))
    return f'<div class="scroll pictures"><table>{"".join(lines)}</table></div>'


def _strip_row(title: str, numbers: str, pictures: Tensor) -> str:
    return (
        f"<tr><th>{escape(title)}<br><small>{escape(numbers)}</small></th>"
        f"<td>{image(title, strip(pictures))}</td></tr>"
    )


def _meanings(comparison: Comparison) -> list[tuple[str, str]]:
    words = {"higher": "higher is better", "lower": "lower is better", "near_one": "1 is best", None: ""}
    return [
        (
            COLUMNS[name].title,
            "; ".join(text for text in (COLUMNS[name].says, words[COLUMNS[name].better]) if text),
        )
        for name in comparison.columns()
    ]


def _origin(comparison: Comparison) -> list[tuple[str, str]]:
    machine, data = comparison.machine, comparison.data
    return [
        ("command", comparison.command),
        (
            "training pictures",
            f"{comparison.training_pictures.count}, {comparison.training_pictures.sha256[:12]}",
        ),
        (
            "held-out pictures",
            f"{data.path}: {data.num_used} of {data.num_found}, {data.num_upsampled} enlarged",
        ),
        ("machine", f"{machine.device}; {machine.processor}; {machine.threads} threads; {machine.system}"),
        ("software", f"torch {machine.torch}, Python {machine.python}"),
        ("commit", comparison.commit or "not a checkout"),
        ("seconds", f"{comparison.seconds:.0f}"),
    ]
