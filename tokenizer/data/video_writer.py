"""Frames to an H.264 MP4 that plays everywhere: 4:2:0, BT.709, every frame at the time it had. Imports no torch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

TICKS = 90_000  # a second, where frames have times of their own
MAX_SIDE = 16_384  # that H.264 holds


class VideoWriter:
    """Writes frames as they come; never holds more than the encoder's own few.

    H.264 in 4:2:0 needs even sides: what is odd grows by a repeated row or column, and the file notes its true size,
    which ``probe`` and ``read_frames`` give back. Frames are written in the order of their times, none reordered, so
    that every time and the length of the whole are exact.

    Args:
        file: where to; must be seekable.
        size: (H, W) of the frames.
        rate: frames per second.
        crf: quality, 0 (no loss beyond 4:2:0) to 51; 18 is hard to tell from the original.
        pixel_aspect: width of a pixel over its height.
        threads: that encode.

    Raises:
        ValueError: if the size or the rate cannot be written.
    """

    def __init__(
        self,
        file: Path | BinaryIO,
        size: tuple[int, int],
        rate: Fraction | int,
        *,
        crf: int = 18,
        pixel_aspect: Fraction = Fraction(1),
        threads: int = 1,
    ) -> None:
        if not 1 <= min(size) <= max(size) <= MAX_SIDE:
            raise ValueError(f"an MP4 holds sides from 1 to {MAX_SIDE} pixels, not {size[0]},{size[1]}")
        if not 0 < rate <= 1000:
            raise ValueError(f"frames per second must be more than 0 and at most 1000, not {rate}")
        self.size, self.rate = size, Fraction(rate)
        self.frames = 0
        self._opened = file.open("wb") if isinstance(file, Path) else None
        target = self._opened or file
        self._container: OutputContainer = av.open(target, "w", format="mp4", options={"fflags": "+bitexact"})
        self._stream: VideoStream = self._container.add_stream(
            "libx264", rate=self.rate, options={"crf": str(crf), "preset": "veryfast", "bf": "0"}
        )
        height, width = (side + side % 2 for side in size)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        if (height, width) != size:
            self._container.metadata["comment"] = f"tessera-size={size[0]},{size[1]}"
        context = self._stream.codec_context
        context.thread_count = threads
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.sample_aspect_ratio = pixel_aspect
        self._unit = 1 / self.rate
        self._last: tuple[int, int] = (-1, 1)  # time and length of the last frame, in units

    def write(self, pixels: NDArray[np.uint8], times: Sequence[Fraction] | None = None) -> None:
        """Add frames.

        Args:
            pixels: uint8 (n, H, W, 3).
            times: of each, in seconds, rising; one after another at the rate without it. All calls or none have them.

        Raises:
            ValueError: if shape, type or times do not fit.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (*self.size, 3):
            raise ValueError(
                f"frames must be uint8 (n, {self.size[0]}, {self.size[1]}, 3), not {pixels.dtype} {pixels.shape}"
            )
        if times is not None and not self.frames:
            self._unit = Fraction(1, TICKS)
        if self.frames == 0:
            self._stream.codec_context.time_base = self._unit
        rows, columns = (side % 2 for side in self.size)
        if rows or columns:
            pixels = np.pad(pixels, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
        for place in range(len(pixels)):
            moment = self.frames if times is None else round(times[place] / self._unit)
            if moment <= self._last[0]:
                raise ValueError(
                    f"the times of frames must rise: {moment * self._unit} is not later than the last"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[place]), "rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
            )
            frame.pts, frame.time_base = moment, self._unit
            self._last = (moment, max(1, moment - self._last[0] if self.frames else 1))
            self.frames += 1
            self._mux(self._stream.encode(frame))

    def close(self, last_s: Fraction | None = None) -> None:
        """Write what the encoder still holds, and the end of the file.

        ``last_s``: how long the last frame stands; as long as the one before it without it.
        """
        if not self.frames:
            self.abandon()
            raise ValueError("a video needs at least one frame")
        length = self._last[1] if last_s is None else max(1, round(last_s / self._unit))
        for packet in self._stream.encode(None):
            if packet.pts == self._last[0]:
                packet.duration = length
            self._mux([packet])
        self._container.close()
        if self._opened is not None:
            self._opened.close()

    def abandon(self) -> None:
        """Let go of encoder and file; what was written is no video."""
        with contextlib.suppress(FFmpegError, OSError, ValueError):  # nobody wants the rest
            self._container.close()
        if self._opened is not None:
            self._opened.close()

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        for packet in packets:
            self._container.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_video(
    file: Path | BinaryIO, pixels: NDArray[np.uint8], rate: Fraction | int, *, crf: int = 18
) -> None:
    """All frames, uint8 (n, H, W, 3), as one MP4.

    Raises:
        ValueError: as ``VideoWriter``.
    """
    with VideoWriter(file, (pixels.shape[1], pixels.shape[2]), rate, crf=crf) as writer:
        writer.write(pixels)


def to_mp4(pixels: NDArray[np.uint8], rate: Fraction | int, *, crf: int = 18) -> bytes:
    """The same as bytes."""
    out = io.BytesIO()
    write_video(out, pixels, rate, crf=crf)
    return out.getvalue()
