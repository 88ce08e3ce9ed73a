"""A report as one HTML file without outside resources."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from eval.page import document, table
from eval.serving.record import cell_text
from eval.serving.tables import VERDICTS

if TYPE_CHECKING:
    from eval.serving.record import Claim, ServingReport, Table

_STYLE = """
.scroll { overflow-x: auto; }
.scroll td, .scroll th { white-space: nowrap; padding-right: 1.4rem; }
td.value { text-align: right; }
.yes { color: #1a7f37; } .no { color: #c62828; font-weight: 600; } .unknown { opacity: .65; }
.note { font-size: .88rem; opacity: .8; max-width: 75ch; }
"""
_CLASSES = {True: "yes", False: "no", None: "unknown"}


def render(report: ServingReport) -> str:
    """The whole page."""
    body = [
        "<h1>The service, measured</h1>",
        f'<p class="lead">{escape(report.machine.processor)}, {escape(report.machine.device)}: '
        f"{escape(report.cores)}</p>",
    ]
    if report.claims():
        body += ["<h2>What it must show</h2>", _claims(report.claims())]
    body += [_table(item) for part in report.parts for item in part.tables]
    body.append(table("Where the numbers come from", _origin(report)))
    return document("The service, measured", body, _STYLE)


def _claims(claims: tuple[Claim, ...]) -> str:
    rows = "".join(
        f"<tr><td>{escape(claim.says)}</td><td>{escape(claim.measured)}</td>"
        f'<td class="{_CLASSES[claim.holds]}">{VERDICTS[claim.holds]}</td></tr>'
        for claim in claims
    )
    return f"<table><tr><th>what</th><th>measured</th><th>holds</th></tr>{rows}</table>"


def _table(item: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in item.columns)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            if isinstance(cell, str)
            else f'<td class="value">{escape(cell_text(cell))}</td>'
            for cell in row
        )
        + "</tr>"
        for row in item.rows
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in item.notes)
    return (
        f'<h2>{escape(item.title)}</h2><div class="scroll"><table><tr>{head}</tr>{rows}</table></div>{notes}'
    )


def _origin(report: ServingReport) -> list[tuple[str, str]]:
    machine = report.machine
    parts = ", ".join(
        f"{part.part} {part.spent_s:.0f} s"
        + ("" if part.commit == report.commit else f" (at {part.commit or 'no commit'})")
        for part in report.parts
    )
    return [
        ("command", report.command),
        ("machine", f"{machine.device}; {machine.processor}; {machine.system}"),
        ("cores", report.cores),
        ("software", f"torch {machine.torch}, Python {machine.python}"),
        ("commit", report.commit or "not a checkout"),
        ("parts", parts),
    ]
