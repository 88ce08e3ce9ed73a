"""Videos from files to frames: whole in pieces, or a clip anywhere in them, in memory that does not grow.

Frames are uint8 (H, W, 3) RGB, turned as the file says, transparency on white; their times are exact, in seconds from
the first frame. Imports no torch.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from tokenizer.data.video_header import (
    DECODER_OPTIONS,
    DamagedVideo,
    Limits,
    VideoHeader,
    check_limits,
    open_container,
    probe,
    reason,
    stream_of,
)

Pixels = NDArray[np.uint8]
UNSPECIFIED = 2  # of a colour space, as H.264 numbers them
HIGH_DEFINITION = 577  # rows from which players take BT.709 where nothing is said
ALPHA = frozenset({"bgra", "rgba", "argb", "abgr", "ya8", "pal8", "yuva420p", "yuva422p", "yuva444p"})


@dataclass(frozen=True, slots=True)
class Frames:
    """Some frames that follow one another.

    Attributes:
        pixels: uint8 (n, H, W, 3).
        times: of each, in seconds from the first frame of the video.
    """

    pixels: Pixels
    times: tuple[Fraction, ...]


def read_frames(
    source: bytes | Path | BinaryIO,
    header: VideoHeader | None = None,
    *,
    limits: Limits | None = None,
    threads: int = 1,
    start: Fraction | None = None,
) -> Iterator[tuple[Fraction, Pixels]]:
    """One frame after another: its time and its pixels (H, W, 3).

    Args:
        source: the file, where it lies, or open.
        header: what ``probe`` said of it; probed here without it.
        limits: what is more is refused, also while decoding, whatever the header said.
        threads: that decode.
        start: seconds; frames come from the last key frame before it on.

    Raises:
        VideoRefused: if it cannot be decoded, or is beyond a limit.
        OSError: if it cannot be read.
    """
    limits = limits or Limits()
    header = header or probe(source, limits)
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from _decode(file, header, limits, threads, start)
    else:
        opened: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        yield from _decode(opened, header, limits, threads, start)


def read_pieces(
    source: bytes | Path | BinaryIO,
    num_frames: int | Callable[[int], int],
    header: VideoHeader | None = None,
    *,
    limits: Limits | None = None,
    threads: int = 1,
) -> Iterator[Frames]:
    """The whole video in pieces of ``num_frames``, the last one perhaps shorter; never more than one is held.

    ``num_frames`` may be a function of the number of the piece, for a first one of another length.

    Raises:
        VideoRefused, OSError: as ``read_frames``.
    """
    pixels: list[Pixels] = []
    times: list[Fraction] = []
    number = 0
    for time, frame in read_frames(source, header, limits=limits, threads=threads):
        pixels.append(frame)
        times.append(time)
        if len(pixels) >= (num_frames(number) if callable(num_frames) else num_frames):
            yield Frames(np.stack(pixels), tuple(times))
            pixels, times, number = [], [], number + 1
    if pixels:
        yield Frames(np.stack(pixels), tuple(times))


def read_clip(
    source: bytes | Path | BinaryIO,
    times: Sequence[Fraction],
    header: VideoHeader | None = None,
    *,
    threads: int = 1,
    change: Callable[[Pixels], Pixels] = lambda frame: frame,
) -> Pixels:
    """The frames nearest to the ``times``, uint8 (n, H, W, 3); decoding begins at the key frame before them.

    Args:
        source: the file, where it lies, or open.
        times: in seconds, in any order; a time may be asked for several times, the earlier of two as near is taken.
        header: what ``probe`` said of it; probed here without it.
        threads: that decode.
        change: what becomes of every frame that is kept, such as a smaller one.

    Raises:
        VideoRefused, OSError: as ``read_frames``.
    """
    wanted = sorted(set(times))
    chosen: dict[Fraction, Pixels] = {}
    before: tuple[Fraction, Pixels] | None = None
    for now, frame in read_frames(source, header, threads=threads, start=wanted[0]):
        nearest: Pixels | None = None
        while len(chosen) < len(wanted) and wanted[len(chosen)] <= now:
            want = wanted[len(chosen)]
            earlier = before is not None and want - before[0] <= now - want
            if earlier and before is not None:
                chosen[want] = change(before[1])
            else:
                nearest = change(frame) if nearest is None else nearest
                chosen[want] = nearest
        before = (now, frame)
        if len(chosen) == len(wanted):
            break
    if before is None:
        raise DamagedVideo("the video is cut short or damaged: no frame can be decoded")
    last = change(before[1]) if len(chosen) < len(wanted) else before[1]
    return np.stack([chosen.get(time, last) for time in times])


def _decode(
    file: BinaryIO, header: VideoHeader, limits: Limits, threads: int, start: Fraction | None
) -> Iterator[tuple[Fraction, Pixels]]:
    count = 0
    with open_container(file, header.container) as container:
        stream = stream_of(container)
        context = stream.codec_context
        context.thread_count = threads
        context.thread_type = ThreadType.AUTO if threads > 1 else ThreadType.NONE
        context.options = DECODER_OPTIONS
        unit = stream.time_base or Fraction(1, 1000)
        first = stream.start_time or 0
        try:
            if start is not None and start > 0:
                container.seek(first + int(start / unit), stream=stream, backward=True)
            for frame in container.decode(stream):
                moment = frame.pts if frame.pts is not None else frame.dts
                time = count / header.rate if moment is None else (moment - first) * unit
                count += 1
                check_limits(limits, frames=count)
                yield time, to_rgb(frame, header)
        except FFmpegError as error:
            raise DamagedVideo(f"the video is damaged after {count} frames ({reason(error)})") from None
        if not count:
            raise DamagedVideo("the video is cut short or damaged: no frame can be decoded")


def to_rgb(frame: VideoFrame, header: VideoHeader) -> Pixels:
    """A decoded frame as uint8 (H, W, 3) of the header's size."""
    height, width = header.coded
    has_alpha = frame.format.name in ALPHA
    space = None
    if frame.colorspace == UNSPECIFIED:  # as players guess
        space = Colorspace.ITU709 if height >= HIGH_DEFINITION else Colorspace.ITU601
    converted = frame.reformat(
        width=width, height=height, format="rgba" if has_alpha else "rgb24", src_colorspace=space, threads=1
    )
    pixels: Pixels = np.asarray(converted.to_ndarray(), np.uint8)
    if has_alpha:
        opaque = pixels[..., 3:].astype(np.uint16)
        laid = pixels[..., :3] * opaque + np.uint16(255) * (255 - opaque)
        pixels = ((laid + 127) // 255).astype(np.uint8)
    if header.turns:
        pixels = np.rot90(pixels, k=-header.turns)
    return np.ascontiguousarray(pixels[: header.size[0], : header.size[1]])
