"""Clips for evaluation: video files of a folder, cut and cropped by the protocol, in pieces as long as one likes.

Letters: T frames, H W rows and columns, R resolution.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from eval.crops import cropped
from eval.data import evenly
from eval.errors import EvaluationError
from eval.protocols.video import OnCorrupt, VideoProtocol
from tokenizer.core.config import Config
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import SUFFIXES, probe


class VideoDataConfig(Config):
    """Which videos."""

    path: Path = Field(description="folder of video files, or one of them")
    resolution: int | None = Field(
        default=None, description="side of the crop; without it, the protocol's own"
    )
    max_videos: int | None = Field(default=None, ge=1, description="take this many, evenly spaced in order")
    on_corrupt: OnCorrupt = Field(
        default="fail", description="skip names what cannot be read, and reads every file twice to know"
    )
    threads: int = Field(default=2, ge=1, description="that decode a video")


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames that follow one another in a clip.

    Attributes:
        file: name below the folder.
        clip: number of the clip in the whole job.
        frames: (T, 3, H, W), uint8, or float in [-1, 1] where the protocol's crop never rounds; T >= 1.
        last: whether the clip ends with them.
        rate: frames per second.
    """

    file: str
    clip: int
    frames: Tensor
    last: bool
    rate: Fraction


@dataclass(slots=True)
class Videos:
    """The videos of a job and what happened while they were read.

    Attributes:
        root: the folder.
        files: those to read, in order.
        num_found: files there are, before any limit.
        skipped: sentences on those that could not be read.
        content: hash of the frames given so far.
    """

    root: Path
    files: tuple[Path, ...]
    num_found: int
    threads: int = 1
    skipped: list[str] = field(default_factory=list)
    content: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @classmethod
    def open(cls, config: VideoDataConfig) -> "Videos":
        """List a folder.

        Raises:
            EvaluationError: if there is no video.
        """
        if config.path.is_file():
            return cls(config.path.parent, (config.path,), 1, config.threads)
        if not config.path.is_dir():
            raise EvaluationError(f"data.path={config.path}: neither a folder nor a file")
        found = [path for path in sorted(config.path.rglob("*")) if path.suffix.lower() in SUFFIXES]
        if not found:
            raise EvaluationError(
                f"data.path={config.path}: no videos below it ({', '.join(sorted(SUFFIXES))})"
            )
        chosen = evenly(found, config.max_videos or len(found))
        return cls(config.path, tuple(chosen), len(found), config.threads)

    def pieces(self, protocol: VideoProtocol, piece_frames: int) -> Iterator[Piece]:
        """All clips in order: whole ones where the protocol says their length, else files in pieces.

        Raises:
            EvaluationError: at the first file that cannot be read, unless the protocol skips such.
        """
        clip = 0
        for file in self.files:
            name = str(file.relative_to(self.root))
            try:
                if protocol.on_corrupt == "skip":
                    for _ in read_frames(file, threads=self.threads):
                        pass
                rate = probe(file).rate
                step = stride(rate, protocol.fps)
                for piece in cut(self._frames(file, step, protocol), protocol, piece_frames):
                    self.content.update(piece.frames.numpy().tobytes())
                    yield Piece(name, clip, piece.frames, piece.last, rate / step)
                    clip += piece.last
            except (ValueError, OSError) as error:
                if protocol.on_corrupt == "fail":
                    hint = "remove it, or count it out with data.on_corrupt=skip"
                    raise EvaluationError(f"{file}: {error}; {hint}") from error
                self.skipped.append(f"{name}: {error}")

    def only(self, name: str) -> "Videos":
        """The file called ``name`` alone, to be read once more."""
        return Videos(self.root, (self.root / name,), 1, self.threads)

    def _frames(self, file: Path, step: int, protocol: VideoProtocol) -> Iterator[Tensor]:
        for number, (_, pixels) in enumerate(read_frames(file, threads=self.threads)):
            if number % step == 0:
                yield as_frame(pixels, protocol)


@dataclass(frozen=True, slots=True)
class Cut:
    """Frames (T, 3, H, W), and whether a clip ends with them."""

    frames: Tensor
    last: bool


def cut(frames: Iterable[Tensor], protocol: VideoProtocol, piece_frames: int) -> Iterator[Cut]:
    """Frames of one file, (3, H, W) each -> its clips: whole where they have a length, else one in pieces."""
    length = protocol.frames or piece_frames
    held: list[Tensor] = []
    for frame in frames:
        if len(held) == length:  # one more is here, so that these are not the last
            yield Cut(torch.stack(held), last=protocol.frames is not None)
            held = []
            if protocol.frames is not None and protocol.windows == "first":
                return
        held.append(frame)
    if not held:
        return
    if protocol.frames is not None and len(held) < length:
        if protocol.last == "drop":
            return
        held += [held[-1]] * (length - len(held))
    yield Cut(torch.stack(held), last=True)


def stride(rate: Fraction, fps: float | None) -> int:
    """Every how many frames are taken for about ``fps`` a second."""
    return 1 if fps is None else max(1, round(float(rate) / fps))


def as_frame(pixels: NDArray[np.uint8], protocol: VideoProtocol) -> Tensor:
    """uint8 (H, W, 3) -> (3, R, R) by the protocol's crop, or (3, H, W) as it is."""
    if protocol.resolution is None:
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return cropped(Image.fromarray(pixels), protocol.crop, protocol.resolution)
