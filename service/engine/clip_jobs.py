"""Jobs on clips, as the HTTP process hands them to the worker. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from service.engine.messages import Job

if TYPE_CHECKING:
    from service.codecs import Output
    from service.engine.messages import Bundle
    from service.wire import Array, Indices, LatentDtype, LatentFormat
    from tokenizer.data.video_header import Limits, VideoHeader

ClipSize = tuple[int, int, int]  # frames, height, width
ClipOutput = Literal["mp4"]
# Of an MP4 without ``quality``: hard to tell from what was encoded.
QUALITY = 65


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoJob(Job):
    """A video file.

    Attributes:
        body: the file.
        header: what it says of itself.
        limits: that hold while it is decoded too.
    """

    body: bytes
    header: VideoHeader
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeClipJob(VideoJob):
    """A video -> its latent or indices.

    Attributes:
        dtype: of the elements of latents.
    """

    format: LatentFormat
    what: Literal["latent", "indices"] = "latent"
    dtype: LatentDtype = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructClipJob(VideoJob):
    """A video -> the MP4 that comes back, and its PSNR."""

    quality: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeClipJob(Job):
    """The checked latent of one clip, its parts or its indices -> an MP4, or its frames.

    Attributes:
        parts: float32 (1, C, ...) by name, normalised.
        size: frames, height and width that it covers.
        rate: frames per second of an MP4.
        bundle: how frames are put together; JSON without it.
    """

    parts: dict[str, Array]
    indices: Indices | None = None
    size: ClipSize
    rate: Fraction
    output: Output | ClipOutput
    quality: int | None = None
    bundle: Bundle | None = None


def crf(quality: int | None) -> int:
    """Quality 0 to 100 as H.264 counts it, 51 to 0."""
    return 51 - round(51 * (QUALITY if quality is None else quality) / 100)
