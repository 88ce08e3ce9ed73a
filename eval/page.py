"""The report as one HTML file that opens anywhere: pictures inside, no script, nothing fetched.

Letters: H W rows and columns.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
from PIL import Image
from torch import Tensor

from eval.chapters import chapters
from eval.machine import Machine
from eval.report import Computed, ProtocolRecord, Report, TokenizerRecord
from eval.wipe import style as wipe_style
from eval.wipe import wipe

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.lead { opacity: .75; margin-top: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td.number { font-size: 1.05rem; font-weight: 600; }
.missing { opacity: .7; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1.1rem; }
figure { margin: 0; padding: .6rem; background: var(--soft); }
figure { border: 1px solid var(--line); border-radius: 8px; }
figure div { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; }
figure img { width: 100%; display: block; border-radius: 3px; }
figcaption { font-size: .82rem; margin-top: .4rem; overflow-wrap: anywhere; }
.wide img { max-width: 100%; }
.scroll { overflow-x: auto; margin-bottom: 1.2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 1.1rem; }
.plots { margin-bottom: 1rem; }
.card { border: 1px solid var(--line); border-radius: 8px; background: var(--soft); padding: .7rem 1rem; }
.card dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .4rem 0 0; }
.card dt { font-size: .78rem; opacity: .75; }
.card dd { margin: 0; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures side by side over one caption.

    Attributes:
        pictures: (3, H, W) uint8 each, with what it shows.
        caption: plain text.
        wiped: the first two, of one size, lie in one place and are told apart with the mouse.
    """

    pictures: Sequence[tuple[str, Tensor]]
    caption: str
    wiped: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its figures."""

    title: str
    figures: Sequence[Figure]
    remark: str = ""


def difference(real: Tensor, fake: Tensor, gain: float = 4.0) -> Tensor:
    """What differs, amplified about middle grey: uint8 (3, H, W) twice -> uint8 (3, H, W)."""
    change = (fake.float() - real.float()) * gain
    return (change + 128.0).round().clamp(0, 255).to(torch.uint8)


def png(picture: Tensor) -> bytes:
    """uint8 (3, H, W) -> a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def render(report: Report, title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    record, side = report.protocol, report.data.resolution
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{report.num_images} pictures at {side} x {side}</p>',
        _card(record),
        _metrics(report),
        *(as_html(section) for section in sections),
        *chapters(report),
        table("Protocol", record.settings.lines()),
        table("Where the numbers come from", _origin(report)),
    ]
    return document(title, body, wipe_style())


def machine_rows(machine: Machine, commit: str | None) -> list[tuple[str, str]]:
    """Where and by what a report was measured, for the table of its origin."""
    used = f"{machine.device}; {machine.processor}; {machine.threads} threads used; {machine.system}"
    return [
        ("machine", used),
        ("software", f"torch {machine.torch}, Python {machine.python}"),
        ("commit", commit or "not a checkout"),
    ]


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A whole page that fetches nothing: parts of HTML under a title, with more rules of style."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def image(name: str, picture: Tensor) -> str:
    """uint8 (3, H, W) as an element that holds its own bytes."""
    data, text = base64.b64encode(png(picture)).decode("ascii"), escape(name, quote=True)
    return f'<img alt="{text}" title="{text}" src="data:image/png;base64,{data}">'


def table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A heading and rows of (name, value)."""
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in rows
    )
    return f"<h2>{escape(title)}</h2><table>{cells}</table>"


def _card(record: ProtocolRecord) -> str:
    """What must be the same for two numbers to be compared, at a glance; every setting is further below."""
    settings = record.settings
    facts = {
        "hash": record.hash,
        "pictures": record.preprocess_hash,
        "resolution": f"{settings.resolution} x {settings.resolution}",
        "crop": settings.crop,
        "posterior": settings.posterior,
        "pixels": f"{settings.range}, {settings.quantization}",
        "PSNR": f"{settings.psnr.average}, range {settings.psnr.data_range:g}",
        "SSIM": f"{settings.ssim.weights} {settings.ssim.window}, range {settings.ssim.data_range:g}",
        "FID": f"{settings.fid.network}, {settings.fid.resize}",
        "corrupt pictures": settings.on_corrupt,
    }
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd></div>"
        for name, value in facts.items()
    )
    return f'<div class="card">Protocol <strong>{escape(record.name)}</strong><dl>{cells}</dl></div>'


def _metrics(report: Report) -> str:
    rows = []
    for name, metric in report.metrics.items():
        if isinstance(metric, Computed):
            arrow = "higher is better" if metric.higher_is_better else "lower is better"
            details = ", ".join(f"{key} {_number(value)}" for key, value in metric.details.items())
            rows.append(
                f'<tr><th>{escape(name)}</th><td class="number">{_number(metric.value)}</td>'
                f"<td>{_number(metric.ci95[0])} to {_number(metric.ci95[1])}</td><td>{metric.num_images}</td>"
                f"<td>{arrow}{'; ' if details else ''}{escape(details)}</td></tr>"
            )
        else:
            text = escape(f"not computed: needs {metric.not_computed}. Put it {metric.put}.")
            rows.append(f'<tr class="missing"><th>{escape(name)}</th><td colspan="4">{text}</td></tr>')
    if report.bits_per_pixel is not None:
        rows.append(
            f'<tr><th>bits per pixel</th><td class="number">{_number(report.bits_per_pixel)}</td>'
            '<td colspan="3">the latent, 16 bits a continuous value; '
            f"{report.compression_ratio:.1f} times smaller than 24-bit pixels</td></tr>"
        )
    rows.append(
        f'<tr><th>images/s</th><td class="number">{_number(report.images_per_s)}</td>'
        f'<td colspan="3">{escape(_speed(report))}</td></tr>'
    )
    head = "<tr><th>metric</th><th>value</th><th>95 % interval</th><th>n</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _speed(report: Report) -> str:
    parts = [f"{key} {_number(value)}" for key, value in report.speed.items()]
    return ", ".join([report.machine.device, *parts])


def as_html(section: Section) -> str:
    """A section as it stands in a page."""
    remark = f"<p>{escape(section.remark)}</p>" if section.remark else ""
    figures = "".join(_figure(figure) for figure in section.figures)
    return f'<h2>{escape(section.title)}</h2>{remark}<div class="gallery">{figures}</div>'


def _figure(figure: Figure) -> str:
    shown = [image(name, picture) for name, picture in figure.pictures]
    if figure.wiped:
        shown = [wipe(shown[0], shown[1]), *shown[2:]]
    pictures = "".join(shown)
    names = " | ".join(name for name, _ in figure.pictures)
    caption = f"{escape(figure.caption)}<br>{escape(names)}"
    return f"<figure><div>{pictures}</div><figcaption>{caption}</figcaption></figure>"


def _origin(report: Report) -> list[tuple[str, str]]:
    data, tokenizer, machine = report.data, report.tokenizer, report.machine
    rows = [
        (
            "tokenizer",
            f"{tokenizer.source} ({_weights(tokenizer)})",
        ),
        ("spec_id", tokenizer.spec_id or "none: never saved"),
        ("pictures", f"{data.path}: {data.num_used} of {data.num_found}, {data.num_upsampled} enlarged"),
    ]
    if tokenizer.tiles:
        rows.append(("tiles", tokenizer.tiles))
    if report.generator is not None:
        rows += [(f"generator.{key}", str(value)) for key, value in report.generator.items()]
    if report.nearest is not None:
        rows += [(f"nearest.{key}", _number(value)) for key, value in report.nearest.items()]
    rows += [("skipped", sentence) for sentence in data.skipped]
    rows += [
        (
            f"weights of {name}",
            f"{entry.file} sha256 {entry.sha256}" + ("" if entry.verified else " NOT the published file"),
        )
        for name, metric in report.metrics.items()
        if isinstance(metric, Computed)
        for entry in metric.weights
    ]
    return rows + machine_rows(machine, report.commit)


def _weights(tokenizer: TokenizerRecord) -> str:
    if not tokenizer.num_parameters:
        return "a server's, in its dtype"
    return f"{tokenizer.num_parameters / 1e6:.1f}M parameters, {tokenizer.dtype}"


def _number(value: float | int | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
