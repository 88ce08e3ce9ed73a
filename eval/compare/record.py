"""The record of a comparison, ``report.json``: one row for each member and each reference."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_serializer

from eval.compare.columns import COLUMNS, improvement
from eval.compare.pictures import Fingerprint
from eval.compare.settings import PromiseConfig
from eval.machine import Machine
from eval.report import DataRecord, ProtocolRecord, writable
from tokenizer.core.config import Config


class Values(Config):
    """Numbers by the names of their columns, and why others are missing."""

    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = Field(default={}, description="95 %, over pictures")
    missing: dict[str, str] = Field(default={}, description="what has no value, and why")

    @field_serializer("values", "intervals", when_used="json")
    def _finite(self, value: Any) -> Any:  # tables of numbers and of pairs alike
        return writable(value)


class MemberRow(Config):
    """A tokenizer."""

    label: str
    preset: str
    overrides: tuple[str, ...] = ()
    init: str | None = Field(default=None, description="the tokenizer that training began with, if any")
    status: Literal["done", "failed", "left out"]
    why: str = Field(default="", description="why there are no numbers")
    spec_id: str = ""
    spec: dict[str, Any] = {}  # LatentSpec as it is saved
    bits: float | None = Field(default=None, description="of one picture")
    numbers: Values = Values()
    training_settings: dict[str, Any] = {}  # TrainConfig as it was run
    machine: Machine | None = Field(default=None, description="where it was measured")
    commit: str | None = None
    seconds: float | None = Field(default=None, description="that the command which measured it spent on it")


class ReferenceRow(Config):
    """A floor or a codec at a budget."""

    kind: Literal["floor", "jpeg", "webp", "avif"]
    budget: float = Field(description="bits of one picture, those of the members beside it")
    bits: float | None = Field(description="bits it spends on a picture, on average; None if it cannot")
    setting: str
    remark: str = ""
    numbers: Values = Values()


class Point(Config):
    """One point of a reference's curve."""

    bits_per_pixel: float
    psnr: float
    setting: str


class PromiseRow(Config):
    """Whether a promise was kept."""

    promise: PromiseConfig
    value: float | None = None
    against: float | None = None
    better_by: float | None = Field(default=None, description="in the direction of improvement")
    kept: bool | None = Field(default=None, description="None if a number is missing")

    @classmethod
    def of(cls, promise: PromiseConfig, rows: Mapping[str, MemberRow]) -> "PromiseRow":
        """Judge one promise by the rows of its two members."""
        value, against = (
            rows[label].numbers.values.get(promise.improves) for label in (promise.member, promise.against)
        )
        if value is None or against is None or not (math.isfinite(value) and math.isfinite(against)):
            return cls(promise=promise, value=value, against=against)
        gain = improvement(promise.improves, value, against)
        return cls(promise=promise, value=value, against=against, better_by=gain, kept=gain > 0)

    def verdict(self) -> str:
        """One word."""
        return "not measured" if self.kept is None else "yes" if self.kept else "no"


class Comparison(Config):
    """``report.json`` of ``eval.compare``."""

    format: Literal[1] = 1
    job: Literal["compare"] = "compare"
    command: str
    budget: str
    resolution: int
    protocol: ProtocolRecord
    data: DataRecord
    training_pictures: Fingerprint
    members: tuple[MemberRow, ...]
    references: tuple[ReferenceRow, ...]
    curves: dict[str, tuple[Point, ...]]
    promises: tuple[PromiseRow, ...]
    machine: Machine
    commit: str | None
    seconds: float = Field(description="of this command")

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"

    @property
    def pixels(self) -> int:
        """Of one picture."""
        return self.resolution * self.resolution

    def rows(self) -> list[MemberRow | ReferenceRow]:
        """All rows by bits: at each budget the members, then the references; what has no bits comes last."""
        measured = [row for row in self.members if row.bits is not None]
        found: list[MemberRow | ReferenceRow] = []
        for bits in sorted({row.bits for row in measured if row.bits is not None}):
            found += [row for row in measured if row.bits == bits]
            found += [row for row in self.references if row.budget == bits]
        return [*found, *(row for row in self.members if row.bits is None)]

    def columns(self) -> list[str]:
        """Names of the columns that at least one row has a number for, in the order of ``COLUMNS``."""
        numbers = [row.numbers.values for row in self.members] + [
            row.numbers.values for row in self.references
        ]
        return [name for name in COLUMNS if any(name in values for values in numbers)]
