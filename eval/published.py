"""The record book: published numbers as data, and ours beside those that were made under the same protocol.

``python -m eval.diff OURS --published dataset=NAME [model=WORDS] [out=FILE]`` prints ours and theirs where protocol,
resolution, pictures and their number agree, and every other record of the data set with the reason why it may not stand
beside ours. What a report was measured on it cannot know: ``dataset`` is the reader's word for it.
"""

import json
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from eval.errors import EvaluationError
from eval.protocols import PROTOCOLS, protocol
from eval.report import Computed, Report, writable
from tokenizer.core.config import Config

Side = Literal["ours", "theirs"]


class Record(Config):
    """Numbers of one model from one source.

    Attributes:
        model: as its source calls it.
        protocol: a name of ``eval.protocols``, or empty.
        resolution: of the pictures; 0 where each has its own.
        dataset: the pictures.
        num_images: how many of them, or of samples; 0 where the source does not tell.
        source: where the numbers stand.
        checked: whether they were read there, and not at second hand.
        note: what else to know.
        metrics: values by the names of ``eval.metrics``.
    """

    model: str
    protocol: str
    resolution: int = Field(ge=0)
    dataset: str
    num_images: int = Field(ge=0)
    source: str
    checked: bool = True
    note: str = ""
    metrics: dict[str, float]

    @property
    def hash(self) -> str | None:
        """Of its protocol at its resolution; none where it has none of ours."""
        if self.protocol not in PROTOCOLS:
            return None
        return protocol(self.protocol, self.resolution).hash


class Beside(Config):
    """One metric of a report beside a published value.

    Attributes:
        model: of the record.
        metric: its name.
        ours: value of the report.
        ci95: its interval.
        theirs: published value.
        verdict: in words.
        source: of the record, and what to know about it.
    """

    model: str
    metric: str
    ours: float
    ci95: tuple[float, float]
    theirs: float
    verdict: str
    source: str


class PublishedComparison(Config):
    """Everything of the book that concerns the data set of a report."""

    protocol: str
    hash: str
    num_images: int
    dataset: str
    beside: tuple[Beside, ...]
    refused: dict[str, str]

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="python")), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [f"{self.protocol} {self.hash}, {self.num_images} pictures, {self.dataset} by your word"]
        for item in self.beside:
            interval = f"95 % {item.ci95[0]:.4f} to {item.ci95[1]:.4f}"
            lines.append(
                f"  {item.metric:16s} {item.ours:.4f} ({interval})   {item.theirs:g} of {item.model}: {item.verdict}"
                f"   [{item.source}]"
            )
        lines += [f"  not compared: {what}: {why}" for what, why in self.refused.items()]
        return "\n".join(lines) + "\n"


@cache
def read_book() -> tuple[Record, ...]:
    """Every record of ``published.toml``, in its order."""
    tree = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(Record.parse(entry) for entry in tree["record"])


def beside_published(report: Report, dataset: str, words: Sequence[str] = ()) -> PublishedComparison:
    """A report beside the records of a data set.

    Args:
        report: ours.
        dataset: which pictures it was measured on, as the book calls them.
        words: only models whose name holds all of these, in any case.

    Raises:
        EvaluationError: if the book has no such data set or model, or no record may stand beside the report; then
            with the reason for each.
    """
    book = read_book()
    if dataset not in (names := sorted({record.dataset for record in book})):
        raise EvaluationError(f"dataset={dataset}: the book has {', '.join(names)}")
    chosen = [
        record
        for record in book
        if record.dataset == dataset and all(word.lower() in record.model.lower() for word in words)
    ]
    if not chosen:
        raise EvaluationError(f"model={' '.join(words)}: none of the book's records on {dataset}")
    found: list[Beside] = []
    refused: dict[str, str] = {}
    for record in chosen:
        reasons = why_not_beside(report, record)
        entries = [] if reasons else _entries(report, record)
        found += entries
        if not entries:
            label = f"{record.model} ({', '.join(record.metrics)}, {record.source})"
            refused[label] = "; ".join(reasons) or "this report has none of these metrics"
    if not found:
        told = "; ".join(f"{what}: {why}" for what, why in refused.items())
        raise EvaluationError(f"no published number may stand beside this report. {told}")
    return PublishedComparison(
        protocol=report.protocol.name,
        hash=report.protocol.hash,
        num_images=report.num_images,
        dataset=dataset,
        beside=tuple(found),
        refused=refused,
    )


def why_not_beside(report: Report, record: Record) -> list[str]:
    """Every reason why a published number may not stand beside a report; none if it may."""
    reasons = []
    if not record.protocol:
        reasons.append("its protocol is not told, or none of those here")
    elif (theirs := record.hash) is None:
        reasons.append(f"{record.protocol} is no protocol of pictures here")
    elif theirs != report.protocol.hash:
        reasons.append(
            f"other protocols: {report.protocol.name} {report.protocol.hash} at "
            f"{report.protocol.settings.resolution} / {record.protocol} {theirs} at {record.resolution}"
        )
    if not record.num_images:
        reasons.append("its source does not tell the number of pictures")
    elif record.num_images != report.num_images:
        reasons.append(f"other numbers of pictures: {report.num_images} / {record.num_images}")
    return reasons


def _entries(report: Report, record: Record) -> list[Beside]:
    found = []
    for name, theirs in record.metrics.items():
        entry = report.metrics.get(name)
        if not isinstance(entry, Computed):
            continue
        low, high = entry.ci95
        ahead = (entry.value > theirs) == entry.higher_is_better
        inside = low <= theirs <= high
        verdict = "inside our interval" if inside else ("ours is better" if ahead else "theirs is better")
        told = [
            record.source,
            *([] if record.checked else ["at second hand"]),
            *([record.note] * bool(record.note)),
        ]
        found.append(
            Beside(
                model=record.model,
                metric=name,
                ours=entry.value,
                ci95=entry.ci95,
                theirs=theirs,
                verdict=verdict,
                source="; ".join(told),
            )
        )
    return found
