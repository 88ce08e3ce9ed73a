"""Clips through a tokenizer, a piece a turn: between two pieces the network does other work, and only pieces are held.

Frames are decoded a piece ahead and encoded a piece behind, each in a thread of its own.

Letters: T frames, C latent channels, H W pixels.
"""

from __future__ import annotations

import io
import math
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch

from service import wire
from service.codecs import VIDEO_MEDIA_TYPE, refused
from service.engine.batching import Prepared
from service.engine.clip_jobs import (
    DecodeClipJob,
    EncodeClipJob,
    ReconstructClipJob,
    VideoJob,
    crf,
)
from service.engine.messages import Answer
from service.engine.operations.base import UNFINISHED, Pass, picture_answer, to_host, to_pixels
from service.engine.pieces import Behind, ahead, rising, taken
from tokenizer.data.video_file import read_pieces
from tokenizer.data.video_header import VideoRefused
from tokenizer.data.video_writer import VideoWriter
from tokenizer.spec import Latent
from tokenizer.streaming import decode_stream, encode_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from service.codecs import Pixels
    from service.engine.messages import Job
    from service.engine.models import Models
    from service.engine.operations.base import Outlook
    from tokenizer.data.video_file import Frames
    from tokenizer.spec import LatentSpec
    from tokenizer.tiling import TilePlan

J = TypeVar("J", bound="Job")
T = TypeVar("T")

PIECE_FRAMES = 32  # of a pass at most, where groups of frames are shorter
DECODE_THREADS = 2


@dataclass(slots=True, eq=False)
class Made:
    """What has come out.

    Attributes:
        body: an MP4.
        pieces: of latents, by part, or of frames under ``frames``, on the host.
        frames: how many went through.
        squared: sum of squared differences of reconstructed frames, and how many numbers they are.
    """

    body: bytes = b""
    pieces: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)
    frames: int = 0
    squared: tuple[float, int] = (0.0, 0)

    def joined(self, name: str, axis: int) -> NDArray[np.generic]:
        """All pieces of one name, along the axis of frames."""
        return np.concatenate(self.pieces[name], axis=axis)


@dataclass(slots=True, eq=False)
class Work:
    """A clip on its way.

    Attributes:
        id: of the job.
        frames: that it has, as far as is known.
        turns: makes a pass each time it is asked, and tells the frames done; ends when ``made`` is whole.
        made: what ``after`` needs.
        error: that ended it; it has no other turn.
    """

    id: int
    frames: int
    turns: Iterator[int] = iter(())
    made: Made = field(default_factory=Made)
    error: BaseException | None = None


class Clips(Generic[J]):
    """What the three operations on clips share; ``core`` makes one pass a turn.

    Args:
        models: loaded.
        outlook: is told of every pass.
    """

    kind = "clip"

    def __init__(self, models: Models, outlook: Outlook) -> None:
        self._models = models
        self._outlook = outlook

    def core(self, batch: Sequence[Work], how: Pass) -> Sequence[object]:
        """One pass of the one clip of the batch."""
        (work,) = batch
        if work.error is not None:
            raise work.error
        try:
            done = next(work.turns)
        except StopIteration:
            return [work.made]
        except VideoRefused as error:
            work.error = refused(error)
            raise work.error from None
        except BaseException as error:
            work.error = error
            raise
        self._outlook.stepped(work.id, done, max(done, work.frames))
        return [UNFINISHED]

    def _prepared(self, job: J, frames: int, turns: Callable[[Work], Iterator[int]]) -> Prepared[Work]:
        work = Work(job.id, frames)
        work.turns = turns(work)
        return Prepared(job.id, (self.kind, job.model, job.id), job.held or job.cost, work)

    def _frames_in(self, job: VideoJob, waiting: deque[Frames] | None = None) -> Iterator[Tensor]:
        """The video as x (1, 3, T, H, W) in [-1, 1] on the device; ``waiting`` is given its pixels too."""
        length = _piece(self._spec(job.model), job.header.size, self._models.settings.batch_pixels)
        pieces = read_pieces(job.body, length, job.header, limits=job.limits, threads=DECODE_THREADS)
        for piece in ahead(pieces):
            if waiting is not None:
                waiting.append(piece)
            pixels = torch.from_numpy(piece.pixels).to(self._models.device)
            x = pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
            yield x.to(self._models.dtype)

    def _tiles(self, model: str, size: tuple[int, int]) -> TilePlan | None:
        return self._models.tiles(self._spec(model).padded(size))

    def _spec(self, model: str) -> LatentSpec:
        return self._models.tokenizers[model].spec


class EncodeClip(Clips[EncodeClipJob]):
    """A video -> its latent, the pieces joined."""

    kind = "encode clip"

    def before(self, job: EncodeClipJob) -> Prepared[Work]:
        """Nothing is decoded yet."""
        return self._prepared(job, job.header.frames, lambda work: self._turns(job, work.made))

    def after(self, job: EncodeClipJob, payload: Work, result: Made) -> Answer:
        """Write the format asked for."""
        spec, size = self._spec(job.model), (result.frames, *job.header.size)
        spec_id = self._models.tokenizers[job.model].spec_id
        headers = clip_headers(size, spec_id, job.header.rate) | {
            "x-tessera-source-bytes": str(len(job.body)),
            "x-tessera-pixel-bytes": str(3 * math.prod(size)),
            "x-tessera-latent-bytes": str(math.ceil(spec.bits(size) / 8)),
        }
        metadata = {"size": wire.write_size(size), "spec_id": spec_id, "frame_rate": str(job.header.rate)}
        if job.what == "indices":
            part = spec.z
            metadata |= {"codebook_size": str(part.codebook_size), "num_codebooks": str(part.num_codebooks)}
            codes = result.joined("indices", -3).astype(part.index_dtype)
            written = wire.write_indices(codes, metadata, job.format)
        else:
            parts = {part.name: result.joined(part.name, -3).astype(np.float32) for part in spec.parts}
            written = wire.write_latent(parts, metadata, file_format=job.format, dtype=job.dtype)
        return Answer(job.id, written.body, written.media_type, headers | written.headers)

    def _turns(self, job: EncodeClipJob, made: Made) -> Iterator[int]:
        tokenizer = self._models.tokenizers[job.model]
        tiles = self._tiles(job.model, job.header.size)
        for latent in encode_stream(tokenizer, self._frames_in(job), tiles=tiles):
            values = latent.indices if job.what == "indices" else latent.parts
            for name, value in values.items():
                key = "indices" if job.what == "indices" else name
                host = value if job.what == "indices" else value.float()
                made.pieces.setdefault(key, []).append(to_host(host.contiguous()))
            made.frames += latent.size[0]
            yield made.frames


class ReconstructClip(Clips[ReconstructClipJob]):
    """A video -> what encoding and decoding leave of it, every frame at its time."""

    kind = "reconstruct clip"

    def before(self, job: ReconstructClipJob) -> Prepared[Work]:
        """Nothing is decoded yet."""
        return self._prepared(job, job.header.frames, lambda work: self._turns(job, work.made))

    def after(self, job: ReconstructClipJob, payload: Work, result: Made) -> Answer:
        """The file is whole already."""
        size = (result.frames, *job.header.size)
        spec, spec_id = self._spec(job.model), self._models.tokenizers[job.model].spec_id
        squared, count = result.squared
        psnr = math.inf if squared == 0 else 10 * math.log10(255**2 * count / squared)
        headers = clip_headers(size, spec_id, job.header.rate) | {
            "x-tessera-source-bytes": str(len(job.body)),
            "x-tessera-pixel-bytes": str(3 * math.prod(size)),
            "x-tessera-latent-bytes": str(math.ceil(spec.bits(size) / 8)),
            "x-tessera-psnr": f"{psnr:.4f}",
        }
        return Answer(job.id, result.body, VIDEO_MEDIA_TYPE, headers)

    def _turns(self, job: ReconstructClipJob, made: Made) -> Iterator[int]:
        tokenizer, header = self._models.tokenizers[job.model], job.header
        tiles = self._tiles(job.model, header.size)
        sent: deque[Frames] = deque()
        out = io.BytesIO()
        writer = VideoWriter(
            out, header.size, header.rate, crf=crf(job.quality), pixel_aspect=header.pixel_aspect
        )
        latents = encode_stream(tokenizer, self._frames_in(job, sent), tiles=tiles)
        last = Fraction(0)
        with Behind() as behind:
            for x_hat in decode_stream(tokenizer, latents, tiles=tiles):
                frames = to_host(frames_of(x_hat))
                originals, times = taken(sent, len(frames))
                times = rising(times, last if made.frames else None)
                last = times[-1]
                made.squared = _added(made.squared, originals, frames)
                behind.run(lambda: writer.write(frames, times if header.variable else None))  # noqa: B023  run before the next
                made.frames += len(frames)
                yield made.frames
            behind.wait()
        left = Fraction(header.seconds).limit_denominator(10**6) - last
        writer.close(left if header.variable and left > 0 else None)
        made.body = out.getvalue()


class DecodeClip(Clips[DecodeClipJob]):
    """The latent of a clip -> an MP4, or its frames."""

    kind = "decode clip"

    def before(self, job: DecodeClipJob) -> Prepared[Work]:
        """Nothing is copied to the device yet."""
        return self._prepared(job, job.size[0], lambda work: self._turns(job, work.made))

    def after(self, job: DecodeClipJob, payload: Work, result: Made) -> Answer:
        """An MP4 is whole already; frames are put together as pictures are."""
        spec_id = self._models.tokenizers[job.model].spec_id
        headers = clip_headers(job.size, spec_id, job.rate)
        if job.output == "mp4":
            return Answer(job.id, result.body, VIDEO_MEDIA_TYPE, headers)
        frames: list[Pixels] = list(result.joined("frames", 0).astype(np.uint8, copy=False))
        facts: dict[str, object] = {"size": list(job.size), "spec_id": spec_id, "frame_rate": str(job.rate)}
        return picture_answer(
            job.id, frames, job.output, headers, facts, quality=job.quality, bundle=job.bundle
        )

    def _turns(self, job: DecodeClipJob, made: Made) -> Iterator[int]:
        tokenizer, size = self._models.tokenizers[job.model], (job.size[1], job.size[2])
        pieces = decode_stream(tokenizer, self._latents(job), tiles=self._tiles(job.model, size))
        if job.output != "mp4":
            for x_hat in pieces:
                made.pieces.setdefault("frames", []).append(to_host(frames_of(x_hat)))
                made.frames += x_hat.shape[2]
                yield made.frames
            return
        out = io.BytesIO()
        writer = VideoWriter(out, size, job.rate, crf=crf(job.quality))
        with Behind() as behind:
            for x_hat in pieces:
                frames = to_host(frames_of(x_hat))
                behind.run(lambda: writer.write(frames))  # noqa: B023  run before the next
                made.frames += len(frames)
                yield made.frames
            behind.wait()
        writer.close()
        made.body = out.getvalue()

    def _latents(self, job: DecodeClipJob) -> Iterator[Latent]:
        """The latent in pieces of whole groups of frames."""
        spec, (frames, *sides) = self._spec(job.model), job.size
        spec_id = self._models.tokenizers[job.model].spec_id
        if any(part.layout != "3d" for part in spec.parts):
            yield self._cut(job, slice(None), job.size, spec_id)
            return
        piece = _piece(spec, (job.size[1], job.size[2]), self._models.settings.batch_pixels)
        at = done = number = 0
        while done < frames:
            length = piece(number)
            lone = 1 if spec.first_frame_alone and number == 0 else 0
            count = lone + (length - lone) // spec.parts[0].temporal_factor
            covered = min(length, frames - done)
            yield self._cut(job, slice(at, at + count), (covered, *sides), spec_id)
            at, done, number = at + count, done + covered, number + 1

    def _cut(self, job: DecodeClipJob, span: slice, size: tuple[int, ...], spec_id: str) -> Latent:
        device = self._models.device
        if job.indices is not None:
            codes = torch.from_numpy(job.indices[..., span, :, :].astype(np.int64)).to(device)
            return Latent({}, size, spec_id, {self._spec(job.model).z.name: codes})
        parts = {
            name: torch.from_numpy(np.array(part[..., span, :, :] if part.ndim == 5 else part)).to(
                device, self._models.dtype
            )
            for name, part in job.parts.items()
        }
        return Latent(parts, size, spec_id)


def frames_of(x_hat: Tensor) -> Tensor:
    """x_hat (1, 3, T, H, W) -> uint8 (T, H, W, 3), where it is."""
    return to_pixels(x_hat[0].transpose(0, 1))


def clip_headers(size: tuple[int, ...], spec_id: str, rate: Fraction) -> dict[str, str]:
    """What every answer about a clip says."""
    return {
        "x-tessera-size": wire.write_size(size),
        "x-tessera-spec": spec_id,
        "x-tessera-frame-rate": str(rate),
    }


def _piece(spec: LatentSpec, size: tuple[int, int], most_pixels: int) -> Callable[[int], int]:
    """Frames of the pieces by their number: whole groups, as many as a pass may have pixels."""
    height, width = spec.padded(size)
    group = spec.padded((1, height, width), continued=True)[0]
    if spec.chunk_frames is not None:
        group = math.lcm(group, spec.chunk_frames)
    lone = 1 if spec.first_frame_alone else 0
    groups = max(1, min(most_pixels // (group * height * width), PIECE_FRAMES // group))
    return lambda number: groups * group + (0 if number else lone)


def _added(sums: tuple[float, int], a: Pixels, b: Pixels) -> tuple[float, int]:
    difference = a.astype(np.int32) - b.astype(np.int32)
    return sums[0] + float(np.square(difference).sum(dtype=np.float64)), sums[1] + a.size
