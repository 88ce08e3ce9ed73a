"""A clip through a tokenizer and back, in pieces, with the time that each half takes.

Letters: T frames, H W rows and columns.
"""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from eval import machine
from eval.pixels import from_uint8
from tokenizer.clips import finish
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_writer import to_mp4
from tokenizer.layers.causal import Cache
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent
from tokenizer.tiling import TilePlan

CRF = 18


@dataclass(slots=True)
class ClipTimes:
    """Frames and seconds so far."""

    frames: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0

    def __sub__(self, other: "ClipTimes") -> "ClipTimes":
        return ClipTimes(
            self.frames - other.frames, self.encode_s - other.encode_s, self.decode_s - other.decode_s
        )


class ClipPass:
    """Takes the frames of one clip and gives those of its reconstruction, which may be some pieces later.

    A tokenizer of pictures takes frame by frame. One of clips takes a clip that comes in one piece as one, and
    otherwise remembers in caches that belong to this object.

    Args:
        tokenizer: encodes and decodes.
        device: it computes on.
        dtype: it computes in.
        tiles: plan for large frames.
        generator: draws the posterior; None takes its mode.
        times: adds up.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        tiles: TilePlan | None = None,
        generator: torch.Generator | None = None,
        times: ClipTimes | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.device = device
        self.dtype = dtype
        self.tiles = tiles
        self.generator = generator
        self.times = times or ClipTimes()
        self._encoding: Cache = {}
        self._decoding: Cache = {}
        self._begun = False

    @torch.inference_mode()
    def push(self, frames: Tensor, last: bool) -> Tensor:
        """Frames (T, 3, H, W), uint8 or float in [-1, 1] -> x_hat (T', 3, H, W) float32 on the CPU, T' >= 0."""
        x = (from_uint8(frames) if frames.dtype == torch.uint8 else frames).to(self.device, self.dtype)
        self.times.frames += len(x)
        if self.tokenizer.spec.time == "none":
            x_hat = self._timed(x, None, None)
        else:
            alone = last and not self._begun
            if last and not alone:
                finish(self._encoding)
                finish(self._decoding)
            caches = (None, None) if alone else (self._encoding, self._decoding)
            x_hat = self._timed(x.transpose(0, 1).unsqueeze(0), *caches)[0].transpose(0, 1)
        self._begun = True
        return x_hat.float().cpu()

    def _timed(self, x: Tensor, encoding: Cache | None, decoding: Cache | None) -> Tensor:
        machine.synchronize(self.device)
        start = time.perf_counter()
        latent: Latent = self.tokenizer.encode(
            x,
            sample=self.generator is not None,
            generator=self.generator,
            tiles=self.tiles,
            cache=encoding,
        )
        machine.synchronize(self.device)
        middle = time.perf_counter()
        x_hat = self.tokenizer.decode(latent, tiles=self.tiles, cache=decoding)
        machine.synchronize(self.device)
        self.times.encode_s += middle - start
        self.times.decode_s += time.perf_counter() - middle
        return x_hat


class Pairs:
    """Originals that wait for their reconstructions."""

    def __init__(self) -> None:
        self._real: list[Tensor] = []

    def match(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor] | None:
        """Add originals (T, 3, H, W), take as many as there are reconstructions (T', 3, H, W); None for none."""
        self._real.append(real)
        if not len(fake):
            return None
        waiting = torch.cat(self._real)
        self._real = [waiting[len(fake) :]]
        return waiting[: len(fake)], fake


def through_h264(frames: Tensor, rate: Fraction) -> Tensor:
    """uint8 (T, 3, H, W) -> what an H.264 file of them (CRF 18) gives back, of the same shape."""
    pixels = np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())
    content = io.BytesIO(to_mp4(pixels, rate, crf=CRF))
    read = np.stack([frame for _, frame in read_frames(content)])
    return torch.from_numpy(read).permute(0, 3, 1, 2).contiguous()


def in_pieces(frames: Tensor, length: int, run: Callable[[Tensor, bool], Tensor]) -> Iterator[Tensor]:
    """What ``run`` makes of a clip (T, 3, H, W) that is given to it by ``length`` frames."""
    pieces = torch.split(frames, length)
    for number, piece in enumerate(pieces):
        yield run(piece, number == len(pieces) - 1)
