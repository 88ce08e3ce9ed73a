"""What costs extra encodes, on a bounded number of the pictures: health under change, rate, cost. Each is asked for.

Letters: B pictures of a batch, N pictures, R resolution.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from eval import cost as costs
from eval import health as healths
from eval.data import Pictures, evenly, read_crop
from eval.errors import CorruptPictureError
from eval.measures.picture_codecs import CodecName
from eval.pixels import as_seen
from eval.protocols import EvaluationProtocol
from eval.rate import measuring as rates
from eval.rate.record import RateRecord
from tokenizer.core.config import Config
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan


class ProbesConfig(Config):
    """How much is spent on what ``health``, ``rate`` and ``cost`` ask for."""

    max_images: int = Field(
        default=64, ge=2, description="pictures, evenly spread; a rate codes half of them"
    )
    generations: int = Field(default=5, ge=1, description="how often a picture is encoded again")
    noise: float = Field(default=0.5, gt=0, description="deviation of noise on normalised latents")
    steps: tuple[float, ...] = Field(
        default=(4.0, 2.0, 1.0, 0.5, 0.25, 0.125),
        description="of quantised continuous latents, in deviations of a channel",
    )
    codecs: tuple[CodecName, ...] = ("jpeg", "webp", "avif")
    batch_sizes: tuple[int, ...] = Field(default=(1, 8), description="of which calls are timed")
    repeats: int = Field(default=10, ge=2, description="timed calls of each")


class Probes(Config):
    """All of it; what was not asked for is None."""

    health: healths.HealthRecord | None = None
    rate: RateRecord | None = None
    cost: costs.CostRecord | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is probed, and how the job that asks for it works.

    Attributes:
        batch_size: pictures at once.
        folder: of the job.
    """

    tokenizer: Tokenizer
    pictures: Pictures
    protocol: EvaluationProtocol
    device: torch.device
    dtype: torch.dtype
    tiles: TilePlan | None
    batch_size: int
    folder: Path

    def read(self, count: int) -> Tensor:
        """So many of the pictures, evenly spread, uint8 (N, 3, R, R); those that cannot be read are left out where
        the protocol skips such.
        """
        found = []
        for file in evenly(self.pictures.files, count):
            try:
                crop, _ = read_crop(file, self.pictures.resolution, self.protocol.crop)
            except CorruptPictureError:
                if self.protocol.on_corrupt == "fail":
                    raise
                continue
            found.append(as_seen(crop.unsqueeze(0), "round_uint8", "uint8"))
        return torch.cat(found)


def probe(subject: Subject, config: ProbesConfig, *, health: bool, rate: bool, cost: bool) -> Probes:
    """Do what is asked for.

    Raises:
        EvaluationError: if a coded file does not come back bit for bit, or there are too few pictures.
    """
    if not (health or rate or cost):
        return Probes()
    real = subject.read(config.max_images)
    return Probes(
        health=_health(subject, config, real) if health else None,
        rate=_rate(subject, config, real) if rate else None,
        cost=_cost(subject, config, real) if cost else None,
    )


def _health(subject: Subject, config: ProbesConfig, real: Tensor) -> healths.HealthRecord:
    return healths.measure(
        subject.tokenizer,
        real,
        device=subject.device,
        dtype=subject.dtype,
        tiles=subject.tiles,
        batch_size=subject.batch_size,
        generations=config.generations,
        noise_strength=config.noise,
    )


def _rate(subject: Subject, config: ProbesConfig, real: Tensor) -> RateRecord:
    return rates.measure(
        healths.AsMeasured(subject.tokenizer, subject.dtype, subject.tiles),
        real,
        steps=config.steps,
        codecs=config.codecs,
        folder=subject.folder,
        protocol=subject.protocol,
        batch_size=subject.batch_size,
        device=subject.device,
    )


def _cost(subject: Subject, config: ProbesConfig, real: Tensor) -> costs.CostRecord:
    return costs.measure(
        subject.tokenizer,
        healths.AsMeasured(subject.tokenizer, subject.dtype, subject.tiles),
        real,
        batch_sizes=config.batch_sizes,
        repeats=config.repeats,
        device=subject.device,
        dtype=str(subject.dtype).removeprefix("torch."),
        tiles=subject.tiles,
    )
