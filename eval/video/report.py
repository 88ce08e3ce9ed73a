"""The record of one evaluation of video, ``report.json``."""

import json
from typing import Any, Literal

from pydantic import Field, field_serializer

from eval.machine import Machine
from eval.protocols.video import VideoProtocol
from eval.report import NotComputed, TokenizerRecord, WeightsEntry, writable
from eval.video.clips import Videos
from eval.video.memory import MemoryPoint
from eval.video.score import ClipMetric, ClipScore
from tokenizer.core.config import Config


class VideoProtocolRecord(Config):
    """Name and hash of a protocol, and all of its settings."""

    name: str
    hash: str
    settings: VideoProtocol

    @classmethod
    def of(cls, protocol: VideoProtocol) -> "VideoProtocolRecord":
        """The record of ``protocol``."""
        return cls(name=protocol.name, hash=protocol.hash, settings=protocol)


class ClipComputed(Config):
    """A metric's value over clips. Infinite values are written as the text ``inf``."""

    value: float
    ci95: tuple[float, float]
    num_clips: int
    higher_is_better: bool
    details: dict[str, float | int | str] = {}
    weights: tuple[WeightsEntry, ...] = ()

    @classmethod
    def of(cls, metric: ClipMetric, score: ClipScore) -> "ClipComputed":
        """The entry of a metric and its score."""
        return cls(
            value=score.value,
            ci95=score.ci95,
            num_clips=score.num_clips,
            higher_is_better=metric.higher_is_better,
            details=dict(score.details),
            weights=tuple(
                WeightsEntry(
                    name=record.name, file=record.file, sha256=record.sha256, verified=record.verified
                )
                for record in metric.weights
            ),
        )

    @field_serializer("value", "ci95", "details", when_used="json")
    def _finite(self, value: Any) -> Any:  # numbers, pairs and tables of numbers alike
        return writable(value)


class VideoDataRecord(Config):
    """The videos of a job."""

    path: str
    num_found: int
    num_files: int
    num_clips: int
    num_frames: int
    skipped: tuple[str, ...] = ()
    content: str = Field(description="sha256 of the frames in order, its first digits")

    @classmethod
    def of(cls, videos: Videos, num_clips: int, num_frames: int) -> "VideoDataRecord":
        """The record of videos after they were read."""
        return cls(
            path=str(videos.root),
            num_found=videos.num_found,
            num_files=len(videos.files) - len(videos.skipped),
            num_clips=num_clips,
            num_frames=num_frames,
            skipped=tuple(videos.skipped),
            content=videos.content.hexdigest()[:16],
        )


class FloorRecord(Config):
    """What the floor reaches on the same clips with the same number of values."""

    code: str
    metrics: dict[str, ClipComputed | NotComputed]


class VideoReport(Config):
    """``report.json`` of ``eval.reconstruct_video``."""

    format: Literal[1] = 1
    job: Literal["reconstruct_video"] = "reconstruct_video"
    protocol: VideoProtocolRecord
    data: VideoDataRecord
    tokenizer: TokenizerRecord
    metrics: dict[str, ClipComputed | NotComputed]
    floor: FloorRecord | None = None
    bits_per_pixel: float = Field(description="of the latents, 16 bits a continuous value")
    compression_ratio: float = Field(description="24 bits a pixel over bits_per_pixel")
    frames_per_s: float = Field(
        description="encoding and decoding, without the first clip where there are several"
    )
    speed: dict[str, float | int] = {}
    memory: tuple[MemoryPoint, ...] = ()
    machine: Machine
    commit: str | None

    def to_text(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    def summary(self) -> str:
        """A few lines for the terminal."""
        data = self.data
        lines = [
            f"{self.protocol.name} {self.protocol.hash}, {data.num_clips} clips, {data.num_frames} frames"
        ]
        for name, metric in self.metrics.items():
            if isinstance(metric, ClipComputed):
                low, high = metric.ci95
                floor = self.floor.metrics.get(name) if self.floor is not None else None
                beside = f"   floor {floor.value:.4f}" if isinstance(floor, ClipComputed) else ""
                lines.append(f"  {name:15s} {metric.value:.4f}   95 % {low:.4f} to {high:.4f}{beside}")
            else:
                lines.append(f"  {name:15s} not computed: needs {metric.not_computed}; put it {metric.put}")
        lines.append(f"  {'bits/pixel':15s} {self.bits_per_pixel:.4f}")
        lines.append(f"  {'frames/s':15s} {self.frames_per_s:.2f}")
        lines += [f"  {point.frames:5d} frames need {point.peak_mib:.1f} MiB" for point in self.memory]
        return "\n".join(lines) + "\n"
