"""Every clip of a job through the tokenizer, the floor and the metrics, and some of them once more to be shown.

Letters: T frames, H W rows and columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from eval.errors import EvaluationError
from eval.measures.video_floor import VideoFloorCode, floor_code, floor_frames
from eval.pixels import as_seen
from eval.progress import Progress
from eval.protocols.video import VideoProtocol
from eval.settings import DTYPES
from eval.video.clips import Piece, Videos
from eval.video.page import Film
from eval.video.panel import ClipPanel
from eval.video.passes import ClipPass, ClipTimes, Pairs, through_h264
from eval.video.settings import ReconstructVideoConfig
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan


@dataclass(slots=True)
class ClipEntry:
    """A clip that went through; ``place`` is its number among those of its file."""

    file: str = ""
    place: int = 0
    frames: int = 0
    size: tuple[int, int] = (0, 0)
    rate: Fraction = Fraction(25)


@dataclass(slots=True)
class Job:
    """All parts of one evaluation, ready to run, and what it noted while it ran."""

    config: ReconstructVideoConfig
    protocol: VideoProtocol
    device: torch.device
    tokenizer: Tokenizer
    videos: Videos
    panel: ClipPanel
    floor: ClipPanel | None
    tiles: TilePlan | None
    generator: torch.Generator | None
    clips: list[ClipEntry] = field(default_factory=list)
    times: ClipTimes = field(default_factory=ClipTimes)
    first: ClipTimes = field(default_factory=ClipTimes)

    def clip_pass(self) -> ClipPass:
        """A fresh way through the tokenizer."""
        return ClipPass(
            self.tokenizer,
            self.device,
            DTYPES[self.config.dtype],
            tiles=self.tiles,
            generator=self.generator,
            times=self.times,
        )


def measure(job: Job) -> None:
    """Encode, decode and compare every clip."""
    with Progress(job.config.out, "reconstruct_video", len(job.videos.files)) as bar:
        files: set[str] = set()
        for clip in _by_clip(job.videos.pieces(job.protocol, job.config.piece_frames)):
            name = _measure_clip(job, clip)
            bar.update(int(name not in files))
            files.add(name)
    if not job.clips:
        raise EvaluationError(f"none of the {len(job.videos.files)} videos can be read")


def _by_clip(pieces: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    """The pieces of one clip at a time; each clip is read to its end before the next."""

    def until_last(first: Piece) -> Iterator[Piece]:
        piece = first
        yield piece
        while not piece.last:
            piece = next(pieces)
            yield piece

    for first in pieces:
        yield until_last(first)


def _measure_clip(job: Job, pieces: Iterator[Piece]) -> str:
    """One clip through the tokenizer and the floor, into the metrics; the name of its file."""
    number = len(job.clips)
    entry = ClipEntry()
    job.clips.append(entry)
    walk = job.clip_pass()
    before = ClipTimes(job.times.frames, job.times.encode_s, job.times.decode_s)
    floor = _FloorPass(job, number)
    comparison = _Comparison(job, number)
    for piece in pieces:
        entry.file, entry.rate = piece.file, piece.rate
        entry.frames += len(piece.frames)
        entry.size = (piece.frames.shape[2], piece.frames.shape[3])
        try:
            x_hat = walk.push(piece.frames, piece.last)
            comparison.add(piece, x_hat)
        except ValueError as error:
            raise EvaluationError(
                f"tokenizer={job.config.tokenizer} dtype={job.config.dtype}: {error}"
            ) from None
        floor.add(piece.frames)
    floor.finish()
    entry.place = sum(other.file == entry.file for other in job.clips[:number])
    if number == 0:
        job.first = job.times - before
    return entry.file


class _Comparison:
    """Pairs of frames into the metrics."""

    def __init__(self, job: Job, clip: int) -> None:
        self.job = job
        self.clip = clip
        self._pairs = Pairs()
        self._held: list[tuple[Tensor, Tensor]] = []

    def add(self, piece: Piece, x_hat: Tensor) -> None:
        pair = self._pairs.match(piece.frames, x_hat)
        if self.job.protocol.through == "h264":
            if pair is not None:
                self._held.append(pair)
            if piece.last and self._held:
                real, fake = (torch.cat([held[side] for held in self._held]) for side in (0, 1))
                self._held = []
                fake = through_h264(as_seen(fake, self.job.protocol.quantization, "uint8"), piece.rate)
                self.job.panel.update(real, fake, self.clip)
        elif pair is not None:
            self.job.panel.update(*pair, self.clip)


class _FloorPass:
    """The floor of one clip, frame by frame beside the tokenizer."""

    def __init__(self, job: Job, clip: int) -> None:
        self.job = job
        self.clip = clip
        self._frames: list[Tensor] = []
        self._code: VideoFloorCode | None = None

    def add(self, frames: Tensor) -> None:
        if self.job.floor is None:
            return
        real = as_seen(frames, "round_uint8", "uint8")
        if self._code is None:
            self._code = floor_code(self.job.tokenizer.spec, *real.shape[2:])
        self._frames += list(real)
        # a piece ends with a frame that is sent, which the next one begins with
        whole = (len(self._frames) - 1) // self._code.every * self._code.every
        if whole:
            self._give(self._frames[: whole + 1], keep_last=True)
            self._frames = self._frames[whole:]

    def finish(self) -> None:
        if self._frames:
            self._give(self._frames, keep_last=False)

    def _give(self, frames: list[Tensor], *, keep_last: bool) -> None:
        assert self._code is not None  # there were frames
        assert self.job.floor is not None
        made = list(floor_frames(frames, self._code))
        count = len(made) - int(keep_last)
        if count:
            self.job.floor.update(torch.stack(frames[:count]), torch.stack(made[:count]), self.clip)


def film_of(job: Job, number: int, caption: str) -> Film:
    """The beginning of a clip, made once more for the page (a sampled posterior: drawn anew; no codec between)."""
    entry = job.clips[number]
    pieces = job.videos.only(entry.file).pieces(job.protocol, job.config.piece_frames)
    for place, clip in enumerate(_by_clip(pieces)):
        if place == entry.place:
            return _film(job, clip, caption)
        for _ in clip:
            pass
    raise EvaluationError(f"{entry.file} changed while it was measured")


def _film(job: Job, pieces: Iterator[Piece], caption: str) -> Film:
    walk, pairs = job.clip_pass(), Pairs()
    shown: list[tuple[Tensor, Tensor]] = []
    rate = Fraction(25)
    for piece in pieces:
        rate = piece.rate
        pair = pairs.match(piece.frames, walk.push(piece.frames, piece.last))
        if pair is not None:
            shown.append(pair)
        if sum(len(real) for real, _ in shown) >= job.config.shown_frames:
            break
    real, fake = (
        as_seen(torch.cat([pair[side] for pair in shown])[: job.config.shown_frames], "round_uint8", "uint8")
        for side in (0, 1)
    )
    return Film(caption, real, fake, rate)
