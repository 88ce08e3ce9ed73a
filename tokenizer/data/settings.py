"""What a run trains on, as data."""

from pathlib import Path

from pydantic import Field, field_validator

from tokenizer.core.config import Config
from tokenizer.data.aspects import parse_aspect
from tokenizer.data.moving import MotionConfig


class DataConfig(Config):
    """Pictures or videos to train on."""

    path: Path = Field(
        description="folder of pictures or of videos, searched below; or .tar shards: one, a folder of them, a pattern"
    )
    validation: Path | None = Field(
        default=None, description="pictures or videos to show and measure; none: the first of path"
    )
    max_scale: float = Field(
        default=1.25, ge=1, description="short side is resized to at most this many crops"
    )
    flip: bool = True
    num_workers: int = Field(
        default=2, ge=0, description="processes that decode pictures, for each training process"
    )
    videos: Path | None = Field(
        default=None, description="videos beside the pictures of path; none: those pictures as moving clips"
    )
    still_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the batches that are single pictures where a phase has frames",
    )
    frame_rate: float | None = Field(
        default=None, gt=0, le=1000, description="frames per second of clips; none: the video's own"
    )
    stride: int = Field(default=1, ge=1, description="clips take one frame of so many")
    lengths: tuple[int, ...] = Field(
        default=(), description="frames of clips beside those of the phase, in equal shares of the batches"
    )
    aspects: tuple[str, ...] = Field(
        default=("1:1",),
        min_length=1,
        description="width:height of clips, of the pixels of the phase's square; a video goes to the nearest",
    )
    motion: MotionConfig = Field(default=MotionConfig(), description="of the camera over pictures")
    cache: Path | None = Field(
        default=None, description="folder that keeps decoded frames at the size they are cut from"
    )
    decode_threads: int = Field(default=1, ge=1, description="threads that decode one video")

    @field_validator("aspects")
    @classmethod
    def _known(cls, aspects: tuple[str, ...]) -> tuple[str, ...]:
        for aspect in aspects:
            parse_aspect(aspect)
        if len(set(aspects)) != len(aspects):
            raise ValueError(f"an aspect is named twice: {', '.join(aspects)}")
        return aspects

    @field_validator("lengths")
    @classmethod
    def _positive(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if any(length < 1 for length in lengths):
            raise ValueError(f"lengths are numbers of frames, at least 1: {lengths}")
        return lengths
