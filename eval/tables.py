"""A report as rows for other documents: CSV, Markdown, LaTeX. One row a set of pictures: all of them, then each slice.

No row leaves its protocol, its number of pictures or its intervals behind.
"""

import csv
import io
from collections.abc import Mapping

from eval.report import Computed, NotComputed, Report

WHOLE = "all"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def csv_text(report: Report) -> str:
    """One line a number: set, metric, value, interval, n, protocol, hash; unrounded."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["set", "metric", "value", "low", "high", "num_images", "protocol", "hash", "remark"])
    protocol = [report.protocol.name, report.protocol.hash]
    for title, entries in _sets(report).items():
        for name, entry in entries.items():
            if isinstance(entry, Computed):
                numbers = [f"{value:.8g}" for value in (entry.value, *entry.ci95)]
                table.writerow([title, name, *numbers, entry.num_images, *protocol, ""])
            else:
                remark = f"not computed: needs {entry.not_computed}"
                table.writerow([title, name, "", "", "", report.num_images, *protocol, remark])
    for name, value in _plain(report).items():
        table.writerow([WHOLE, name, f"{value:.8g}", "", "", report.num_images, *protocol, ""])
    return text.getvalue()


def markdown(report: Report, title: str) -> str:
    """A table with the protocol above it."""
    names, plain = _names(report), _plain(report)
    lines = [
        f"Protocol `{report.protocol.name}` `{report.protocol.hash}`, {report.num_images} pictures at "
        f"{report.data.resolution} x {report.data.resolution}; 95 % intervals.",
        "",
        "| " + " | ".join([_cell(title), "n", *names, *plain]) + " |",
        "|---|" + "---:|" * (1 + len(names) + len(plain)),
    ]
    for label, entries in _sets(report).items():
        values = [_interval(entries.get(name), "{value} ({low} to {high})") for name in names]
        numbers = [f"{value:.4f}" if label == WHOLE else "" for value in plain.values()]
        lines.append("| " + " | ".join([_cell(label), _count(report, entries), *values, *numbers]) + " |")
    return "\n".join(lines) + "\n"


def latex(report: Report, title: str) -> str:
    """Rows of a tabular, with comments that say what the columns and the protocol are."""
    names, plain = _names(report), _plain(report)
    columns = " & ".join(["", "n", *names, *plain])
    lines = [
        f"% protocol {report.protocol.name} {report.protocol.hash}, {report.num_images} pictures at "
        f"{report.data.resolution} x {report.data.resolution}; 95 % intervals",
        f"% {columns}",
    ]
    for label, entries in _sets(report).items():
        shown = title if label == WHOLE else f"{title}, {label}"
        values = [_interval(entries.get(name), r"{value} {{\scriptsize [{low}, {high}]}}") for name in names]
        numbers = [f"{value:.4f}" if label == WHOLE else "" for value in plain.values()]
        lines.append(" & ".join([_escaped(shown), _count(report, entries), *values, *numbers]) + r" \\")
    return "\n".join(lines) + "\n"


def _sets(report: Report) -> dict[str, Mapping[str, Computed | NotComputed]]:
    return {WHOLE: report.metrics, **report.slices}


def _names(report: Report) -> list[str]:
    return [name for name, entry in report.metrics.items() if isinstance(entry, Computed)]


def _plain(report: Report) -> dict[str, float]:
    """Numbers without an interval."""
    found = {} if report.bits_per_pixel is None else {"bits_per_pixel": report.bits_per_pixel}
    return found | {"images_per_s": report.images_per_s}


def _count(report: Report, entries: Mapping[str, Computed | NotComputed]) -> str:
    counts = {entry.num_images for entry in entries.values() if isinstance(entry, Computed)}
    return "/".join(str(count) for count in sorted(counts or {report.num_images}))


def _interval(entry: Computed | NotComputed | None, form: str) -> str:
    if not isinstance(entry, Computed):
        return "-"
    value, low, high = (f"{number:.4f}" for number in (entry.value, *entry.ci95))
    return form.format(value=value, low=low, high=high)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
