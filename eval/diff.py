"""``python -m eval.diff A B [out=FILE]``: what B changes against A, on the same pictures under the same protocol.

A and B are folders of reports (or their report.json). Scores by picture are compared by a paired bootstrap, which is
far tighter than two intervals side by side: pictures differ by decibels, and both models see the same ones. Reports
that cannot be compared are refused with every reason, and exit status 2.

``python -m eval.diff OURS --published dataset=NAME [model=WORDS] [out=FILE]`` compares with the record book instead,
see ``eval.published``.
"""

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.errors import EvaluationError
from eval.published import PublishedComparison, beside_published
from eval.report import Computed, NotComputed, Report, read_report, writable, write_text
from tokenizer.core.config import Config, refusals


class Difference(Config):
    """How one metric changes from A to B.

    Attributes:
        a: the value of A.
        b: the value of B.
        difference: b - a.
        ci95: of the difference over pictures; none for metrics of whole sets.
        b_is_better: share of the pictures on which B is better, ties counted half; none likewise.
        verdict: in words.
    """

    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    b_is_better: float | None
    verdict: str


class Comparison(Config):
    """All metrics that both reports have, and those that only one has or that cannot be compared."""

    protocol: str
    hash: str
    num_images: int
    differences: dict[str, Difference]
    left_out: dict[str, str]

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="python")), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [f"{self.protocol} {self.hash}, {self.num_images} pictures, B - A"]
        for name, item in self.differences.items():
            interval = "" if item.ci95 is None else f"   95 % {item.ci95[0]:+.4f} to {item.ci95[1]:+.4f}"
            lines.append(
                f"  {name:18s} {item.a:.4f} -> {item.b:.4f}  {item.difference:+.4f}{interval}   {item.verdict}"
            )
        lines += [f"  {name:18s} {why}" for name, why in self.left_out.items()]
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--help" in arguments or not arguments:
        sys.stdout.write(f"{__doc__}")
        return
    with refusals("eval.diff"):
        made = _compared(arguments)
        for out in _given(arguments, "out"):
            write_text(Path(out), made.to_text())
    sys.stdout.write(made.summary())


def _compared(arguments: Sequence[str]) -> Comparison | PublishedComparison:
    words = [item for item in arguments if not item.startswith(("out=", "dataset=", "model=", "--published"))]
    if "--published" not in arguments:
        if len(words) != 2:
            raise EvaluationError(
                f"two reports are compared, not {len(words)}: python -m eval.diff A B [out=FILE]"
            )
        return diff(*map(Path, words))
    datasets = _given(arguments, "dataset")
    if len(words) != 1 or len(datasets) != 1:
        raise EvaluationError(
            "one report and one data set: python -m eval.diff OURS --published dataset=NAME"
        )
    models = " ".join(_given(arguments, "model")).split()
    return beside_published(read_report(Path(words[0])), datasets[0], models)


def _given(arguments: Sequence[str], option: str) -> list[str]:
    return [item.removeprefix(f"{option}=") for item in arguments if item.startswith(f"{option}=")]


def diff(a: Path, b: Path) -> Comparison:
    """Compare two folders of reports.

    Raises:
        EvaluationError: with every reason why they cannot be compared.
    """
    report_a, report_b = read_report(a), read_report(b)
    rows_a, rows_b = read_rows(a), read_rows(b)
    reasons = why_not(report_a, report_b)
    if not reasons and rows_a and rows_b and list(rows_a) != list(rows_b):
        reasons = ["the pictures differ: per_image.csv names others, or in another order"]
    if reasons:
        raise EvaluationError(f"{a} and {b} cannot be compared: " + "; ".join(reasons))
    differences: dict[str, Difference] = {}
    left_out: dict[str, str] = {}
    for name in [*report_a.metrics, *(key for key in report_b.metrics if key not in report_a.metrics)]:
        first, second = report_a.metrics.get(name), report_b.metrics.get(name)
        if not isinstance(first, Computed) or not isinstance(second, Computed):
            left_out[name] = _absent(first, second)
        elif first.weights != second.weights:
            left_out[name] = "not compared: measured with other weight files"
        else:
            columns = [[row.get(name) for row in rows.values()] for rows in (rows_a, rows_b)]
            differences[name] = _difference(first, second, columns, report_a)
    return Comparison(
        protocol=report_a.protocol.name,
        hash=report_a.protocol.hash,
        num_images=report_a.num_images,
        differences=differences,
        left_out=left_out,
    )


def why_not(a: Report, b: Report) -> list[str]:
    """Every reason why two reports cannot be compared; none if they can."""
    reasons = []
    if a.job != b.job:
        reasons.append(f"one is of {a.job}, the other of {b.job}")
    if a.protocol.hash != b.protocol.hash:
        before, after = (dict(report.protocol.settings.lines()) for report in (a, b))
        moved = [
            f"{key} {before.get(key)} / {after.get(key)}"
            for key in before | after
            if before.get(key) != after.get(key)
        ]
        names = f"{a.protocol.name} {a.protocol.hash} / {b.protocol.name} {b.protocol.hash}"
        reasons.append(f"other protocols: {names} ({', '.join(moved)})")
    if a.num_images != b.num_images:
        reasons.append(f"other numbers of pictures: {a.num_images} / {b.num_images}")
    references = [(report.generator or {}).get("reference") for report in (a, b)]
    if references[0] != references[1]:
        reasons.append(f"other references: {references[0]} / {references[1]}")
    contents = (a.data.content, b.data.content)
    if a.num_images == b.num_images and None not in contents and contents[0] != contents[1]:
        reasons.append(f"other pictures: {a.data.path} ({a.data.content}) / {b.data.path} ({b.data.content})")
    return reasons


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], *, resamples: int, seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean of b - a over pictures and its 95 % interval, resampling pictures with both of their scores.

    Pictures on which both are infinite (PSNR of equal pictures) do not differ.
    """
    values = np.array([0.0 if x == y else y - x for x, y in zip(a, b, strict=True)])
    mean = float(values.mean())
    if not np.isfinite(values).all():
        return mean, (-math.inf, math.inf)
    draw = np.random.default_rng(seed)
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, (2.5, 97.5))
    return mean, (min(float(low), mean), max(float(high), mean))


def read_rows(source: Path) -> dict[str, dict[str, float]]:
    """The scores of per_image.csv beside a report, by file and metric; empty without one."""
    file = (source if source.is_dir() else source.parent) / "per_image.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as stream:
        return {
            row["file"]: {name: float(value) for name, value in row.items() if name != "file"}
            for row in csv.DictReader(stream)
        }


def _difference(
    a: Computed, b: Computed, columns: Sequence[Sequence[float | None]], report: Report
) -> Difference:
    first = [value for value in columns[0] if value is not None]
    second = [value for value in columns[1] if value is not None]
    better = "B is better" if a.higher_is_better else "A is better"
    worse = "A is better" if a.higher_is_better else "B is better"
    if not first or len(first) != len(second) or len(first) != report.num_images:
        apart = a.ci95[1] < b.ci95[0] or b.ci95[1] < a.ci95[0]
        verdict = "their intervals overlap" if not apart else (better if b.value > a.value else worse)
        return Difference(
            a=a.value, b=b.value, difference=b.value - a.value, ci95=None, b_is_better=None, verdict=verdict
        )
    interval = report.protocol.settings.interval
    mean, (low, high) = paired_bootstrap(first, second, resamples=interval.resamples, seed=interval.seed)
    above = float(np.mean([(y > x) + 0.5 * (y == x) for x, y in zip(first, second, strict=True)]))
    verdict = (
        "no difference that these pictures show" if low <= 0.0 <= high else (better if low > 0 else worse)
    )
    return Difference(
        a=a.value,
        b=b.value,
        difference=mean,
        ci95=(low, high),
        b_is_better=above if a.higher_is_better else 1.0 - above,
        verdict=verdict,
    )


def _absent(first: Computed | NotComputed | None, second: Computed | NotComputed | None) -> str:
    lacking = [name for name, entry in (("A", first), ("B", second)) if not isinstance(entry, Computed)]
    return f"not computed in {' and '.join(lacking)}"


if __name__ == "__main__":
    main()
