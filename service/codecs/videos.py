"""Videos as bytes: told apart from pictures, and refused before a frame is decoded. Run it in a thread.

Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.video_errors import NoVideo, TooMuchVideo, TruncatedVideo
from tokenizer.data.video_header import (
    DamagedVideo,
    Limits,
    NoVideoStream,
    VideoHeader,
    VideoRefused,
    VideoTooLarge,
    probe,
    sniff,
)

if TYPE_CHECKING:
    from service.errors import ServiceError

VIDEO_MEDIA_TYPE = "video/mp4"  # of answers


def is_video(body: bytes, *, animations: bool) -> bool:
    """Whether a file is a video: MP4 and WebM are, GIF where ``animations`` are wanted rather than first frames."""
    container = sniff(body[:16])
    return container is not None and (container != "gif" or animations)


def inspect_video(body: bytes, limits: Limits) -> VideoHeader:
    """Read the header only.

    Raises:
        NoVideo, TruncatedVideo, TooMuchVideo.
    """
    try:
        return probe(body, limits)
    except VideoRefused as error:
        raise refused(error) from None


def refused(error: VideoRefused) -> ServiceError:
    """What a caller is told of a file that is not decoded."""
    if isinstance(error, VideoTooLarge):
        return TooMuchVideo(
            f"{error}: send a shorter or a smaller one",
            param="file",
            details={f"max_{error.limit}": error.value},
        )
    if isinstance(error, DamagedVideo):
        return TruncatedVideo(f"{error}: send the whole file", param="file")
    what = "MP4, WebM or GIF with pictures in it" if isinstance(error, NoVideoStream) else "MP4, WebM or GIF"
    return NoVideo(f"{error}: send {what}", param="file")
