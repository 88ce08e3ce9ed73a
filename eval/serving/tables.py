"""A report as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.serving.record import cell_text

if TYPE_CHECKING:
    from eval.serving.record import Claim, ServingReport, Table

VERDICTS = {True: "yes", False: "NO", None: "not measured"}


def markdown(report: ServingReport) -> str:
    """The whole report."""
    lines = [
        "# The service, measured",
        "",
        f"`{report.command}`, commit {report.commit or 'unknown'}.",
        "",
        f"{report.machine.processor}, {report.machine.device}, {report.machine.system}, Python "
        f"{report.machine.python}, torch {report.machine.torch}. {report.cores[:1].upper()}{report.cores[1:]}.",
        "",
    ]
    if report.claims():
        lines += ["## What it must show", "", *_claims(report.claims()), ""]
    for part in report.parts:
        for table in part.tables:
            lines += [f"## {table.title}", "", *rows_of(table), ""]
            lines += [f"{note}\n" for note in table.notes]
        if part.commit != report.commit:
            lines += [f"Measured at commit {part.commit or 'unknown'}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def rows_of(table: Table) -> list[str]:
    """A table's lines: text to the left, numbers to the right."""
    numbers = [
        all(not isinstance(row[index], str) for row in table.rows) and bool(table.rows)
        for index in range(len(table.columns))
    ]
    lines = [_line(table.columns), _line([("---:" if number else "---") for number in numbers])]
    return lines + [_line([cell_text(cell) for cell in row]) for row in table.rows]


def _claims(claims: tuple[Claim, ...]) -> list[str]:
    lines = [_line(("what", "measured", "holds")), _line(("---", "---", "---"))]
    return lines + [_line((claim.says, claim.measured, VERDICTS[claim.holds])) for claim in claims]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
