"""The record of one evaluation, ``report.json``: every number with its protocol, interval and origin."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_serializer
from torch import Tensor, nn

from eval.cost import CostRecord
from eval.data import Pictures
from eval.errors import EvaluationError, NotComputedError
from eval.health import HealthRecord
from eval.latent_health import LatentRecord
from eval.machine import Machine
from eval.metrics import METRICS, Metric, Score
from eval.pixels import as_seen
from eval.protocols import Domain, EvaluationProtocol
from eval.rate.record import RateRecord
from eval.weights import KNOWN, WeightsConfig, WeightsRecord
from tokenizer.core.config import Config
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan


class ProtocolRecord(Config):
    """Name and hashes of a protocol, and all of its settings."""

    name: str
    hash: str
    preprocess_hash: str
    settings: EvaluationProtocol

    @classmethod
    def of(cls, protocol: EvaluationProtocol) -> "ProtocolRecord":
        """The record of ``protocol``."""
        return cls(
            name=protocol.name,
            hash=protocol.hash,
            preprocess_hash=protocol.preprocess_hash,
            settings=protocol,
        )


class WeightsEntry(Config):
    """A weight file that a metric read."""

    name: str
    file: str
    sha256: str
    verified: bool


class Computed(Config):
    """A metric's value. Infinite values (PSNR of equal pictures) are written as the text ``inf``."""

    value: float
    ci95: tuple[float, float]
    num_images: int
    higher_is_better: bool
    details: dict[str, float | int | str] = {}
    weights: tuple[WeightsEntry, ...] = ()

    @field_serializer("value", "ci95", "details", when_used="json")
    def _finite(self, value: Any) -> Any:  # numbers, pairs and tables of numbers alike
        return writable(value)


class NotComputed(Config):
    """A metric without a value: what is missing, and where to put it."""

    not_computed: str
    put: str


class DataRecord(Config):
    """The pictures of a job."""

    path: str
    resolution: int
    num_found: int
    num_used: int
    num_upsampled: int
    skipped: tuple[str, ...] = ()
    content: str | None = Field(default=None, description="sha256 of the crops in order, its first digits")

    @classmethod
    def of(cls, pictures: Pictures, num_used: int, content: str | None = None) -> "DataRecord":
        """The record of pictures after they were read."""
        return cls(
            path=str(pictures.root),
            resolution=pictures.resolution,
            num_found=pictures.num_found,
            num_used=num_used,
            num_upsampled=pictures.num_upsampled,
            skipped=tuple(pictures.skipped),
            content=content,
        )


class TokenizerRecord(Config):
    """The tokenizer measured."""

    source: str
    spec_id: str
    spec: dict[str, Any]  # LatentSpec as it is saved
    num_parameters: int
    dtype: str
    tiles: str | None = None

    @classmethod
    def of(cls, source: str, tokenizer: Tokenizer, dtype: str, tiles: TilePlan | None) -> "TokenizerRecord":
        """The record of a tokenizer loaded from ``source``."""
        parameters = tokenizer.parameters() if isinstance(tokenizer, nn.Module) else []
        return cls(
            source=source,
            spec_id=tokenizer.spec_id,
            spec=tokenizer.spec.model_dump(mode="json"),
            num_parameters=sum(parameter.numel() for parameter in parameters),
            dtype=dtype,
            tiles=None if tiles is None else f"{tiles.tile} pixels, overlap {tiles.overlap}",
        )


class Report(Config):
    """What every job writes; a job leaves out what does not concern it."""

    format: Literal[1] = 1
    job: Literal["reconstruct", "generate"]
    protocol: ProtocolRecord
    num_images: int
    data: DataRecord
    tokenizer: TokenizerRecord
    generator: dict[str, Any] | None = None  # JSON, see eval.generate
    metrics: dict[str, Computed | NotComputed]
    bits_per_pixel: float | None = Field(
        default=None, description="of the latent, 16 bits a continuous value"
    )
    compression_ratio: float | None = Field(default=None, description="24 bits a pixel over bits_per_pixel")
    images_per_s: float
    speed: dict[str, float | int] = {}
    nearest: dict[str, float | str] | None = Field(
        default=None, description="how close generated pictures come to the reference pictures"
    )
    slices: dict[str, dict[str, Computed]] = Field(default={}, description="metrics of parts of the pictures")
    latents: LatentRecord | None = None
    health: HealthRecord | None = None
    rate: RateRecord | None = None
    cost: CostRecord | None = None
    machine: Machine
    commit: str | None

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(writable(self.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """A few lines for the terminal."""
        lines = [f"{self.protocol.name} {self.protocol.hash}, {self.num_images} pictures"]
        for name, metric in self.metrics.items():
            if isinstance(metric, Computed):
                low, high = metric.ci95
                lines.append(f"  {name:12s} {metric.value:.4f}   95 % {low:.4f} to {high:.4f}")
            else:
                lines.append(f"  {name:12s} not computed: needs {metric.not_computed}; put it {metric.put}")
        if self.bits_per_pixel is not None:
            lines.append(f"  {'bits/pixel':12s} {self.bits_per_pixel:.4f}")
        lines.append(f"  {'images/s':12s} {self.images_per_s:.2f}")
        return "\n".join(lines) + "\n"


class Panel:
    """The metrics of one job: those that can be computed here, and why the others cannot.

    Args:
        names: metrics in the order of the report.
        protocol: their settings.
        weights: where their weights lie.
        device: where they run.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        protocol: EvaluationProtocol,
        weights: WeightsConfig,
        device: torch.device,
    ) -> None:
        self.metrics: dict[str, Metric] = {}
        self.missing: dict[str, NotComputed] = {}
        self.names = names
        self.protocol = protocol
        for name in names:
            if name in protocol.unavailable:
                self.missing[name] = NotComputed(not_computed=f"{name}, which is not built here", put="aside")
                continue
            if name not in METRICS:
                raise ValueError(f"no metric {name!r}: there are {', '.join(METRICS)}")
            try:
                self.metrics[name] = METRICS[name](protocol, weights, device)
            except NotComputedError as error:
                self.missing[name] = NotComputed(not_computed=error.what, put=error.put)

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Give every metric a batch of pairs (B, 3, R, R), uint8 or float, in the form that it sees.

        Metrics that see the same form get the same tensors, so that they share the network's features.

        Raises:
            ValueError: if a side holds NaN or infinity.
        """
        seen: dict[Domain, tuple[Tensor, Tensor]] = {}
        for metric in self.metrics.values():
            if (domain := metric.domain) not in seen:
                quantization = self.protocol.quantization
                seen[domain] = (
                    as_seen(real, quantization, domain).cpu(),
                    as_seen(fake, quantization, domain).cpu(),
                )
            metric.update(*seen[domain], keys)

    def compute(self) -> tuple[dict[str, Computed | NotComputed], dict[str, Score]]:
        """(entries of the report, scores by metric name).

        A metric over files that are not the published ones is entered as ``<name>_unverified``, and its own
        name as not computed: another network never passes for the one that the name means.
        """
        entries: dict[str, Computed | NotComputed] = {}
        scores: dict[str, Score] = {}
        for name in self.names:
            if name in self.missing:
                entries[name] = self.missing[name]
                continue
            metric = self.metrics[name]
            try:
                scores[name] = metric.compute()
            except NotComputedError as error:
                entries[name] = NotComputed(not_computed=error.what, put=error.put)
                continue
            entry = _computed(metric, scores[name])
            wrong = [record for record in metric.weights if not record.verified]
            if wrong:
                put = "in place of the file that was given"
                entries[name] = NotComputed(not_computed=_published(wrong), put=put)
            entries[f"{name}_unverified" if wrong else name] = entry
        return entries, scores


def check_required(
    required: Sequence[str], entries: Mapping[str, object], missing: Mapping[str, NotComputed]
) -> None:
    """Refuse a job whose required metrics have no value.

    Args:
        required: metrics by name.
        entries: those that the job has, by name.
        missing: those of them that cannot be computed, and why.

    Raises:
        EvaluationError: naming each of them and what to do.
    """
    wrong = [
        f"{name}: needs {missing[name].not_computed}; put it {missing[name].put}"
        if name in missing
        else f"{name}: not among the metrics of this job ({', '.join(entries)})"
        for name in required
        if name in missing or name not in entries
    ]
    if wrong:
        raise EvaluationError("required, and not computed: " + "; ".join(wrong))


def not_computed(entries: Mapping[str, Computed | NotComputed]) -> dict[str, NotComputed]:
    """The entries without a value."""
    return {name: entry for name, entry in entries.items() if isinstance(entry, NotComputed)}


def read_report(source: Path) -> Report:
    """The report in a folder, or a report.json.

    Raises:
        EvaluationError: if there is none.
    """
    file = source / "report.json" if source.is_dir() else source
    try:
        return Report.parse(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file} is no report: {error}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def writable(value: Any) -> Any:  # whatever stands in a report
    """The same with infinities and NaN as text, since JSON has none."""
    if isinstance(value, Mapping):
        return {key: writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _computed(metric: Metric, score: Score) -> Computed:
    return Computed(
        value=score.value,
        ci95=score.ci95,
        num_images=score.num_images,
        higher_is_better=metric.higher_is_better,
        details=dict(score.details),
        weights=tuple(
            WeightsEntry(name=record.name, file=record.file, sha256=record.sha256, verified=record.verified)
            for record in metric.weights
        ),
    )


def _published(records: list[WeightsRecord]) -> str:
    known = {str(name): entry for name, entry in KNOWN.items()}
    wanted = []
    for record in records:
        entry = known.get(record.name)
        wanted.append(entry.describe() if entry else f"{record.name} as its package brings it")
    return "the published " + " and ".join(wanted)
