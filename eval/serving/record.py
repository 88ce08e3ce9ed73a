"""``report.json``: tables, what must be shown and whether it was, and where it was measured."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pydantic import field_validator

from eval import machine
from eval.report import writable, write_text
from eval.serving.settings import Part
from tokenizer.core.config import Config

if TYPE_CHECKING:
    from pathlib import Path

Cell = float | int | str | None


class Table(Config):
    """Rows under named columns; what a column says stands in ``notes``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    @field_validator("rows")
    @classmethod
    def _unknown_is_none(cls, rows: tuple[tuple[Cell, ...], ...]) -> tuple[tuple[Cell, ...], ...]:
        return tuple(
            tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row)
            for row in rows
        )


class Claim(Config):
    """Something that the service must show.

    Attributes:
        says: in words, with the limit.
        measured: the number that decides, in words.
        holds: whether it does; None where it was not measured, and ``measured`` says why.
    """

    says: str
    measured: str
    holds: bool | None

    @classmethod
    def at_most(cls, says: str, value: float, limit: float, unit: str) -> Claim:
        """``value`` must not exceed ``limit``; NaN was not measured."""
        return cls(
            says=says, measured=_number(value, unit), holds=None if math.isnan(value) else value <= limit
        )

    @classmethod
    def at_least(cls, says: str, value: float, limit: float, unit: str) -> Claim:
        """``value`` must reach ``limit``; NaN was not measured."""
        return cls(
            says=says, measured=_number(value, unit), holds=None if math.isnan(value) else value >= limit
        )


class PartRecord(Config):
    """One part, as its file in ``parts/`` holds it."""

    part: Part
    settings: dict[str, object]
    commit: str | None
    spent_s: float
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...] = ()


class ServingReport(Config):
    """The whole report; parts in the order of ``PARTS``."""

    format: int = 1
    job: str = "serving"
    command: str
    cores: str
    machine: machine.Machine
    commit: str | None
    parts: tuple[PartRecord, ...]

    def claims(self) -> tuple[Claim, ...]:
        """Of all parts."""
        return tuple(claim for part in self.parts for claim in part.claims)


def save(record: Config, path: Path) -> None:
    """Write as JSON, whole or not at all; infinities and NaN as text."""
    data = writable(record.model_dump(mode="json"))
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_part(path: Path) -> PartRecord | None:
    """A part that was measured; None if there is none, or it is of another format."""
    try:
        return PartRecord.parse(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def cell_text(cell: Cell) -> str:
    """For people: three significant digits, or more where they are whole."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def _number(value: float, unit: str) -> str:
    return f"{cell_text(float(value))} {unit}".strip() if not math.isnan(value) else "not measured"
