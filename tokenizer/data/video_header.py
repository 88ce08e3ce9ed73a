"""What a video file says of itself, checked before a frame is decoded. Imports no torch.

MP4 and QuickTime, WebM and Matroska, GIF: told apart by their first bytes, and only those demuxers ever run. Sizes are
(H, W) in pixels as the video is shown.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from tokenizer.data.kind import VIDEOS
from tokenizer.data.mp4_boxes import read_claims

av.logging.set_level(None)  # what is wrong with a file is raised, not printed

Container = Literal["mp4", "webm", "gif"]
DEMUXERS: dict[Container, str] = {"mp4": "mov", "webm": "matroska", "gif": "gif"}
SUFFIXES = VIDEOS.suffixes
MATROSKA = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # pictures in the same boxes
# Rates that clips have; a measured one so close to one of them is it.
RATES = tuple(
    Fraction(rate)
    for rate in (10, 12, 15, "24000/1001", 24, 25, "30000/1001", 30, 48, 50, "60000/1001", 60, 120)
)
MAX_RATE = 1000
# What a decoder allocates at most, whatever a stream says half way.
DECODER_OPTIONS = {"max_pixels": str(2**27)}


class VideoRefused(ValueError):  # noqa: N818  what it says is why
    """A file that is not decoded."""


class NotAVideo(VideoRefused):
    """Not a file of a container that is read here."""


class NoVideoStream(VideoRefused):
    """A container without pictures that can be decoded."""


class DamagedVideo(VideoRefused):
    """Cut short or damaged."""


class VideoTooLarge(VideoRefused):
    """Beyond a limit.

    Attributes:
        limit: its name in ``Limits``.
        value: the limit.
    """

    def __init__(self, message: str, limit: str, value: float) -> None:
        super().__init__(message)
        self.limit, self.value = limit, value

    def __reduce__(self) -> tuple[object, ...]:
        return (VideoTooLarge, (str(self), self.limit, self.value))


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a video may be; None for any.

    Attributes:
        frames, seconds: of the whole.
        pixels: of one frame.
        total_pixels: of all frames together.
    """

    frames: int | None = None
    seconds: float | None = None
    pixels: int | None = 2**26
    total_pixels: int | None = None


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """What is known of a video before it is decoded.

    Attributes:
        container: its kind of file.
        codec: of the pictures.
        size: (H, W) as it is shown, turned and cropped.
        coded: (H, W) as it is stored.
        turns: quarter turns clockwise from one to the other.
        frames: that it has.
        rate: frames per second, on average where it varies.
        variable: whether it does.
        seconds: from the first frame's start to the last one's end.
        pixel_aspect: width of a pixel over its height.
    """

    container: Container
    codec: str
    size: tuple[int, int]
    coded: tuple[int, int]
    turns: int
    frames: int
    rate: Fraction
    variable: bool
    seconds: float
    pixel_aspect: Fraction = Fraction(1)


def sniff(head: bytes) -> Container | None:
    """The container by the first 16 bytes of a file; None if it is none of a video."""
    if head[4:8] == b"ftyp":
        return None if head[8:12] in STILL_BRANDS else "mp4"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"skip"):  # QuickTime before it had brands
        return "mp4"
    if head.startswith(MATROSKA):
        return "webm"
    return "gif" if head.startswith((b"GIF87a", b"GIF89a")) else None


def probe(source: bytes | Path | BinaryIO, limits: Limits | None = None) -> VideoHeader:
    """Read what a file says of itself. No frame is decoded; of WebM and GIF the packets are counted.

    Args:
        source: the file, where it lies, or open.
        limits: what is more is refused.

    Raises:
        NotAVideo, NoVideoStream, DamagedVideo, VideoTooLarge: saying why.
        OSError: if it cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _probe(file, limits or Limits())
    return _probe(io.BytesIO(source) if isinstance(source, bytes) else source, limits or Limits())


def open_container(file: BinaryIO, container: Container) -> InputContainer:
    """A file as PyAV reads it, by this container's demuxer alone and no frame larger than ``DECODER_OPTIONS`` allow.

    Raises:
        DamagedVideo: if it cannot be opened.
    """
    file.seek(0)
    format_name = DEMUXERS[container]
    try:
        return av.open(file, "r", format=format_name, options=DECODER_OPTIONS, metadata_errors="replace")
    except FFmpegError as error:
        raise DamagedVideo(f"the video is cut short or damaged ({reason(error)})") from None


def reason(error: FFmpegError) -> str:
    """What FFmpeg says is wrong, short."""
    return (error.strerror or type(error).__name__).lower()


def _probe(file: BinaryIO, limits: Limits) -> VideoHeader:
    num_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(64)
    container = sniff(head)
    if container is None:
        raise NotAVideo("this is not a video that is read here: MP4, QuickTime, WebM, Matroska or GIF")
    turns, claimed_seconds = 0, 0.0
    if container == "mp4":
        try:
            claims = read_claims(file, num_bytes)
        except ValueError as error:
            raise DamagedVideo(f"the video is cut short or damaged: {error}") from None
        if claims.video is None:
            raise NoVideoStream("the file holds no video stream")
        turns, claimed_seconds = claims.video.turns, claims.seconds
        check_limits(limits, frames=claims.video.samples, size=claims.video.size, seconds=claimed_seconds)
    elif container == "webm":
        _refuse_short_segment(head, num_bytes)
    else:
        _refuse_short_gif(file, head, num_bytes)
        width, height = (int.from_bytes(head[at : at + 2], "little") for at in (6, 8))
        check_limits(limits, size=(height, width))
    with open_container(file, container) as opened:
        stream = stream_of(opened)
        coded = (stream.codec_context.height, stream.codec_context.width)
        if opened.duration is not None:
            claimed_seconds = max(claimed_seconds, opened.duration / av.time_base)
        check_limits(limits, size=coded, seconds=claimed_seconds)
        times, last = _times(opened, stream, limits)
        header = _described(container, opened, stream, coded, turns, times, last, claimed_seconds)
    check_limits(limits, frames=header.frames, size=header.coded, seconds=header.seconds)
    return header


def check_limits(
    limits: Limits, *, frames: int = 0, size: tuple[int, int] = (1, 1), seconds: float = 0.0
) -> None:
    """VideoTooLarge, naming the limit, if one of these is beyond it."""
    pixels = size[0] * size[1]
    for name, have, told in (
        ("pixels", pixels, f"frames of {size[1]}x{size[0]} pixels"),
        ("frames", frames, f"{frames} frames"),
        ("seconds", seconds, f"{seconds:.0f} seconds"),
        ("total_pixels", frames * pixels, f"{frames} frames of {size[1]}x{size[0]} pixels"),
    ):
        most = getattr(limits, name)
        if most is not None and have > most:
            what = {"total_pixels": "pixels in all", "pixels": "pixels a frame"}.get(name, name)
            raise VideoTooLarge(
                f"the video has {told}, more than the {most:g} {what} that are taken", name, most
            )


def stream_of(opened: InputContainer) -> VideoStream:
    """The stream that is a video's pictures.

    Raises:
        NoVideoStream: if there is none.
    """
    for stream in opened.streams.video:
        # A cover picture of a sound file is no film, and what no decoder is there for has no context.
        if stream.codec_context is None or Disposition.attached_pic in stream.disposition:
            continue
        if stream.codec_context.width > 0 and stream.codec_context.height > 0:
            return stream
    raise NoVideoStream("the file holds no video stream that can be decoded")


def _times(opened: InputContainer, stream: VideoStream, limits: Limits) -> tuple[list[int], int]:
    """Times of the frames in the stream's unit, in order, and how long the last one stands; none decoded."""
    entries = stream.index_entries
    if opened.format.name.startswith("mov") and stream.frames and len(entries) >= stream.frames:
        times = sorted(entry.timestamp for entry in entries if not entry.is_discard)
        if times and stream.duration is not None and stream.duration > times[-1] - times[0]:
            return times, stream.duration - (times[-1] - times[0])
        return times, 0
    times, last = [], 0
    try:
        for packet in opened.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.is_corrupt:
                raise DamagedVideo("the video is cut short or damaged: a packet is not whole")
            moment = packet.pts if packet.pts is not None else packet.dts
            if moment is not None:
                times.append(moment)
                last = packet.duration or 0
            check_limits(limits, frames=len(times))
    except FFmpegError as error:
        raise DamagedVideo(f"the video is cut short or damaged ({reason(error)})") from None
    return sorted(times), last


def _described(
    container: Container,
    opened: InputContainer,
    stream: VideoStream,
    coded: tuple[int, int],
    turns: int,
    times: Sequence[int],
    last: int,
    claimed_seconds: float,
) -> VideoHeader:
    unit = stream.time_base or Fraction(1, 1000)
    if not times:
        raise DamagedVideo("the video is cut short or damaged: it has no frames")
    length = times[-1] - times[0]
    rate, variable = _rate(times, unit, [stream.average_rate, stream.guessed_rate])
    end = float(length * unit) + (float(last * unit) or float(1 / rate))
    size = cropped(coded, opened.metadata.get("comment", ""))
    return VideoHeader(
        container=container,
        codec=stream.codec_context.name,
        size=size if turns % 2 == 0 else (size[1], size[0]),
        coded=coded,
        turns=turns,
        frames=len(times),
        rate=rate,
        variable=variable,
        seconds=end,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
    )


def cropped(coded: tuple[int, int], comment: str) -> tuple[int, int]:
    """The size that our own writer notes where it had to add a row or a column; otherwise as it is stored."""
    name, _, text = comment.partition("=")
    sides = text.split(",")
    if (
        name != "tessera-size"
        or len(sides) != 2
        or not all(side.isdecimal() and len(side) < 6 for side in sides)
    ):
        return coded
    size = (int(sides[0]), int(sides[1]))
    return size if coded == tuple(side + side % 2 for side in size) else coded


def _rate(times: Sequence[int], unit: Fraction, told: Sequence[Fraction | None]) -> tuple[Fraction, bool]:
    """Frames per second, and whether no constant rate explains the times to within their own rounding."""
    steps = len(times) - 1
    length = times[-1] - times[0]
    if not steps or length <= 0:
        first = next((rate for rate in told if rate), None)
        return (first if first and first <= MAX_RATE else Fraction(25)), False
    measured = Fraction(steps) / (length * unit)
    for rate in (*(rate for rate in told if rate), *RATES, measured):
        tick = 1 / (rate * unit)
        if abs(steps * tick - length) <= 1 and all(
            abs(times[0] + place * tick - moment) <= 1 for place, moment in enumerate(times)
        ):
            return min(rate, Fraction(MAX_RATE)), False
    return min(measured.limit_denominator(1001), Fraction(MAX_RATE)) or measured, True


def _refuse_short_segment(head: bytes, num_bytes: int) -> None:
    """DamagedVideo if a Matroska file is shorter than it says; a demuxer takes what is there for the whole.

    Source: RFC 8794 (EBML), sections 4 and 6.
    """
    try:
        at = 4
        size, width = _vint(head, at)
        at += width + size
        if head[at : at + 4] != SEGMENT:
            return
        size, width = _vint(head, at + 4)
    except IndexError:
        return
    known = size != 2 ** (7 * width) - 1  # all bits set: a stream whose length nobody knew
    if known and at + 4 + width + size > num_bytes:
        missing = at + 4 + width + size - num_bytes
        raise DamagedVideo(f"the video is cut short: {missing} bytes are missing")


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """(value, bytes) of a variable-length number of EBML."""
    first = data[at]
    width = 9 - first.bit_length()
    if width > 8 or at + width > len(data):
        raise IndexError(at)
    value = int.from_bytes(data[at : at + width], "big") - (1 << (7 * width))
    return value, width


def _refuse_short_gif(file: BinaryIO, head: bytes, num_bytes: int) -> None:
    """DamagedVideo if a GIF has no end mark."""
    file.seek(max(len(head[:13]), num_bytes - 16))
    if b";" not in file.read(16):
        raise DamagedVideo("the video is cut short: the GIF has no end")
