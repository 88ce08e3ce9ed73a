"""The record of the job, ``report.json``: one row a tokenizer."""

import json
from typing import Any, Literal

from pydantic import Field

from eval.compare.pictures import Fingerprint
from eval.machine import Machine
from eval.report import writable
from tokenizer.core.config import Config

SPACE = (
    "Frechet distance of 8 x 8 patches of pixels at several scales (eval/measures/patch_frechet.py), mean over scales; "
    "not FID, and not comparable with it"
)


class PatchNumbers(Config):
    """A patch distance: its mean, and by the side that pictures had."""

    mean: float
    scales: dict[int, float]


class DownstreamRow(Config):
    """A tokenizer and the generator on its latents."""

    label: str
    source: str
    status: Literal["done", "failed", "left out"]
    why: str = Field(default="", description="why there are no numbers")
    spec_id: str = ""
    spec: dict[str, Any] = {}  # LatentSpec as it is saved
    latent_shape: tuple[int, ...] = ()
    values: int = Field(default=0, description="of one latent, which the generator makes")
    tokenizer_parameters: int = 0
    generator_parameters: int = 0
    psnr: float | None = Field(default=None, description="dB of reconstructed held-out pictures, mean")
    reconstruction: PatchNumbers | None = Field(
        default=None, description="distance of reconstructed held-out pictures from themselves"
    )
    generation: PatchNumbers | None = Field(
        default=None, description="distance of samples from the training pictures"
    )
    loss: float | None = Field(
        default=None, description="of the generator's last log entry, in normalised latents"
    )
    training: dict[str, Any] = {}  # TrainConfig as it was run
    seconds: float | None = Field(default=None, description="that the command which measured it spent on it")
    machine: Machine | None = None
    commit: str | None = None


class DownstreamReport(Config):
    """``report.json`` of ``eval.downstream``."""

    format: Literal[1] = 1
    job: Literal["downstream"] = "downstream"
    command: str
    resolution: int
    images: int
    num_samples: int
    sampling: str
    feature_space: str = SPACE
    training_pictures: Fingerprint
    held_out_pictures: Fingerprint
    num_reference: int = Field(description="training pictures that samples are compared with")
    num_held_out: int
    photographs: PatchNumbers = Field(
        description="distance of the held-out pictures from the training pictures"
    )
    members: tuple[DownstreamRow, ...]
    machine: Machine
    commit: str | None
    seconds: float = Field(description="of this command")

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"

    def by_generation(self) -> list[DownstreamRow]:
        """Rows with samples, the best first; then the others."""
        done = [row for row in self.members if row.generation is not None]
        rest = [row for row in self.members if row.generation is None]
        return [*sorted(done, key=lambda row: row.generation.mean if row.generation else 0.0), *rest]

    def rank(self, row: DownstreamRow, what: Literal["reconstruction", "generation"]) -> int | None:
        """1 for the smallest distance of all rows; None without one."""
        own: PatchNumbers | None = getattr(row, what)
        if own is None:
            return None
        others: list[PatchNumbers | None] = [getattr(other, what) for other in self.members]
        return 1 + sum(other.mean < own.mean for other in others if other is not None)
