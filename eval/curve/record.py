"""The record of the job, ``report.json``: a row of points for each member, and what stands beside them."""

import json
from typing import Literal

from pydantic import Field

from eval.compare.record import Point
from eval.machine import Machine
from eval.report import DataRecord, ProtocolRecord, writable
from tokenizer.core.config import Config


class CountPoint(Config):
    """A member at one number of tokens, or at one quality."""

    tokens: float = Field(description="of a picture; their mean where pictures have their own numbers")
    bits_per_pixel: float
    bits_per_value: float | None = Field(default=None, description="of continuous values, fewest for 0.1 dB")
    psnr: float
    patch_frechet: float = Field(description="of the reconstructions from the pictures (eval/measures)")
    quality: float | None = Field(default=None, description="dB that each picture was to reach")
    reached: float | None = Field(default=None, description="share of the pictures that did")
    spread: tuple[int, int] | None = Field(default=None, description="fewest and most tokens of a picture")


class CurveRow(Config):
    """A member whose number of tokens can be chosen."""

    label: str
    why: str = Field(default="", description="why there are no points")
    spec_id: str = ""
    points: tuple[CountPoint, ...] = Field(
        default=(), description="the same number of tokens for all pictures"
    )
    chosen: tuple[CountPoint, ...] = Field(default=(), description="each picture its own, by quality")

    @property
    def falls(self) -> list[tuple[int, int]]:
        """Pairs of neighbouring numbers of tokens of which the larger has the lower PSNR."""
        return [
            (round(before.tokens), round(after.tokens))
            for before, after in zip(self.points, self.points[1:], strict=False)
            if after.psnr < before.psnr
        ]


class BesideRow(Config):
    """A member of fixed length, as the comparison measured it."""

    label: str
    tokens: int
    bits_per_pixel: float
    psnr: float


class CurveReport(Config):
    """``report.json`` of ``eval.curve``."""

    format: Literal[1] = 1
    job: Literal["curve"] = "curve"
    command: str
    budget: str = Field(description="of the comparison, for each member")
    resolution: int
    protocol: ProtocolRecord
    data: DataRecord
    members: tuple[CurveRow, ...]
    beside: tuple[BesideRow, ...]
    references: dict[str, tuple[Point, ...]]
    machine: Machine
    commit: str | None
    seconds: float = Field(description="of this command")

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"
