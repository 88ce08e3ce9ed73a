"""What the latents of a whole evaluation look like, gathered in its only pass: no extra encoding.

Everything is a sum, so that shards merge and a job goes on where it stopped. Values are counted as the rest of the
system sees them, normalised by the tokenizer's statistics; a tokenizer without any is counted as it is, and the record
says so.

Letters: B pictures, C latent channels, S the latent's grid.
"""

import math
from collections.abc import Mapping
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from eval.errors import NotComputedError
from eval.measures.codebook import CodebookCounts
from eval.measures.latents import LatentMoments
from eval.measures.spectrum import LatentSpectrum
from tokenizer.core.config import Config
from tokenizer.spec import Latent, LatentSpec, PartSpec

FAR = 6.0
REACH = 8.0
BIN = 0.25
NUM_BINS = int(2 * REACH / BIN) + 2


class ChannelRecord(Config):
    """One value a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    kurtosis: tuple[float, ...] = Field(description="3 for a normal distribution; 0 for one that never moves")
    low: tuple[float, ...]
    high: tuple[float, ...]
    prior_gap: tuple[float, ...] = Field(description="nats of KL divergence from the standard normal")
    peak: tuple[float, ...] = Field(description="distance of the farthest value from the mean, in deviations")


class SpectrumRecord(Config):
    """Power by frequency."""

    frequency: tuple[float, ...] = Field(description="cycles per cell of the latent")
    power: tuple[float, ...]
    slope: float = Field(description="of log power over log frequency; 0 is noise")
    upper_half: float = Field(description="share of the energy above half of the highest frequency")


class CodebookRecord(Config):
    """One codebook over the whole set."""

    size: int
    used: int
    dead: int
    num_tokens: int
    use: float = Field(description="of the codes that so many tokens can reach")
    perplexity: float
    entropy_bits: float = Field(
        description="of an index, from the counts themselves: too low where pictures are few"
    )


class PartRecord(Config):
    """One part of a latent."""

    name: str
    count: int = Field(description="values of a channel that were counted; 0 where only indices are known")
    channels: ChannelRecord | None = None
    dead: float | None = Field(default=None, description="share of channels that hardly move")
    effective_rank: float | None = Field(default=None, description="exp of the entropy of the covariance")
    participation: float | None = Field(default=None, description="participation ratio of the covariance")
    eigenvalues: tuple[float, ...] = Field(default=(), description="of the channels' covariance, falling")
    far: float | None = Field(
        default=None, description="share of values beyond 6 deviations of the statistics"
    )
    histogram: tuple[int, ...] = Field(
        default=(), description="of all values: below -8, steps of 0.25 from -8 to 8, above 8"
    )
    spectrum: SpectrumRecord | None = None
    codebooks: tuple[CodebookRecord, ...] = ()
    fixed_bits_per_pixel: float | None = Field(default=None, description="log2 of the codes")
    entropy_bits_per_pixel: float | None = Field(
        default=None, description="entropy of the counts of each codebook"
    )
    missing: dict[str, str] = {}


class LatentRecord(Config):
    """All parts."""

    normalised: bool = Field(description="whether values were counted in units of the tokenizer's statistics")
    parts: tuple[PartRecord, ...]


class LatentHealth:
    """Counts every part of every latent. ``update`` / ``merge`` / ``state`` / ``compute``.

    Args:
        spec: of the tokenizer.
    """

    def __init__(self, spec: LatentSpec) -> None:
        self.spec = spec
        self._parts = {part.name: _Part(part) for part in spec.parts}

    def update(self, latent: Latent) -> None:
        """Add a batch."""
        for name, part in self._parts.items():
            part.update(latent.parts.get(name), latent.indices.get(name))

    def merge(self, other: Self) -> None:
        """Add what ``other`` counted."""
        self.add_state(other.state())

    def state(self) -> dict[str, Tensor]:
        """All of it by name, float64 and int64."""
        return {
            f"{name}.{key}": value
            for name, part in self._parts.items()
            for key, value in part.state().items()
        }

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        """Add what ``state`` was taken from."""
        for name, part in self._parts.items():
            head = f"{name}."
            part.add_state(
                {key.removeprefix(head): value for key, value in state.items() if key.startswith(head)}
            )

    def take(self) -> dict[str, Tensor]:
        """``state``, and begin anew."""
        found = self.state()
        self._parts = {part.name: _Part(part) for part in self.spec.parts}
        return found

    def compute(self, num_pixels: int) -> LatentRecord:
        """The record of a set of so many pixels in all.

        Raises:
            ValueError: if nothing was counted.
        """
        plain = all(
            set(part.mean or (0.0,)) == {0.0} and set(part.std or (1.0,)) == {1.0} for part in self.spec.parts
        )
        parts = tuple(part.compute(num_pixels) for part in self._parts.values())
        return LatentRecord(normalised=not plain, parts=parts)


class _Part:
    """The sums of one part."""

    def __init__(self, part: PartSpec) -> None:
        self.part = part
        self.moments = LatentMoments(part.channels)
        self.spectrum = LatentSpectrum() if part.layout != "1d" else None
        self.codes = None if part.codebook_size is None else CodebookCounts(part)
        self.histogram = torch.zeros(NUM_BINS, dtype=torch.int64)
        self.far = 0
        self.flat = "" if part.layout != "1d" else "a row of tokens has no plane"

    def update(self, z: Tensor | None, indices: Tensor | None) -> None:
        if z is not None:
            self.moments.add(z)
            values = z.detach().cpu().double().flatten()
            places = ((values.clamp(-2 * REACH, 2 * REACH) + REACH) / BIN).floor().long() + 1
            self.histogram += torch.bincount(places.clamp(0, NUM_BINS - 1), minlength=NUM_BINS)
            self.far += int((values.abs() > FAR).sum())
            self._add_plane(z)
        if indices is not None and self.codes is not None:
            self.codes.add(indices)

    def _add_plane(self, z: Tensor) -> None:
        if self.spectrum is None:
            return
        try:
            self.spectrum.add(z)
        except NotComputedError as error:
            self.flat = str(error)

    def state(self) -> dict[str, Tensor]:
        found = {"histogram": self.histogram.clone(), "far": torch.tensor(self.far)}
        found |= {f"moments.{key}": value for key, value in self.moments.state().items()}
        if self.spectrum is not None:
            found |= {f"spectrum.{key}": value for key, value in self.spectrum.state().items()}
        if self.codes is not None:
            found |= {f"codes.{key}": value for key, value in self.codes.state().items()}
        return found

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        def under(head: str) -> dict[str, Tensor]:
            return {key.removeprefix(head): value for key, value in state.items() if key.startswith(head)}

        self.histogram += state["histogram"]
        self.far += int(state["far"])
        self.moments.add_state(under("moments."))
        if self.spectrum is not None:
            self.spectrum.add_state(under("spectrum."))
        if self.codes is not None:
            self.codes.add_state(under("codes."))

    def compute(self, num_pixels: int) -> PartRecord:
        missing: dict[str, str] = {}
        found = self._codes(num_pixels)
        if self.moments.count:
            found |= self._values(missing)
        return PartRecord.parse(
            {"name": self.part.name, "count": self.moments.count, **found, "missing": missing}
        )

    def _values(self, missing: dict[str, str]) -> dict[str, object]:
        channels = self.moments.channels()
        names = ("mean", "std", "kurtosis", "low", "high", "prior_gap", "peak")
        found: dict[str, object] = {
            "channels": {name: getattr(channels, name).tolist() for name in names},
            "dead": self.moments.compute().dead,
            "far": self.far / (self.moments.count * self.part.channels),
            "histogram": self.histogram.tolist(),
        }
        try:
            rank = self.moments.rank()
        except ValueError as error:
            missing["effective_rank"] = str(error)
        else:
            found |= {
                "effective_rank": rank.entropy,
                "participation": rank.participation,
                "eigenvalues": rank.eigenvalues.tolist(),
            }
        try:
            if self.spectrum is None or self.flat:
                raise ValueError(self.flat)
            spectrum = self.spectrum.compute()
        except ValueError as error:
            missing["spectrum"] = self.flat or str(error)
        else:
            found["spectrum"] = {
                "frequency": spectrum.frequency,
                "power": spectrum.power,
                "slope": spectrum.slope,
                "upper_half": spectrum.upper_half,
            }
        return found

    def _codes(self, num_pixels: int) -> dict[str, object]:
        if self.codes is None:
            return {}
        uses = self.codes.compute()
        return {
            "codebooks": [
                {
                    "size": use.size,
                    "used": use.used,
                    "dead": use.dead,
                    "num_tokens": use.num_tokens,
                    "use": use.share,
                    "perplexity": use.perplexity,
                    "entropy_bits": use.entropy_bits,
                }
                for use in uses
            ],
            "fixed_bits_per_pixel": sum(use.num_tokens * math.log2(use.size) for use in uses) / num_pixels,
            "entropy_bits_per_pixel": sum(use.num_tokens * use.entropy_bits for use in uses) / num_pixels,
        }
