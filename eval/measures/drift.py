"""What becomes of a picture that is encoded and decoded again and again, as when it is edited and saved each time.

Letters: B pictures, R resolution, K generations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Tokenizer

SMALLEST_MSE = 1e-10


@dataclass(frozen=True, slots=True)
class Drift:
    """Over a set of pictures, one value a generation.

    Attributes:
        psnr: mean PSNR in dB of the k-th reconstruction against the original, k from 1 to K.
        step: mean PSNR in dB of the k-th reconstruction against the one before, the original being before the first;
            rising values settle.
    """

    psnr: tuple[float, ...]
    step: tuple[float, ...]


class RoundTripDrift:
    """Accumulates over batches. Between two generations pixels are rounded to uint8, as a file would hold them.

    Args:
        generations: K.
    """

    def __init__(self, generations: int) -> None:
        if generations < 1:
            raise ValueError(f"generations must be at least 1, got {generations}")
        self._psnr: list[list[float]] = [[] for _ in range(generations)]
        self._step: list[list[float]] = [[] for _ in range(generations)]

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor) -> None:
        """Add uint8 pictures (B, 3, R, R), on the tokenizer's device."""
        before = real
        for psnr, step in zip(self._psnr, self._step, strict=True):
            after = to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(before))))
            psnr += _decibels(real, after)
            step += _decibels(before, after)
            before = after

    def compute(self) -> Drift:
        """The means; ValueError if no picture was given."""
        if not self._psnr[0]:
            raise ValueError("no pictures were given")
        psnr, step = (
            tuple(sum(values) / len(values) for values in found) for found in (self._psnr, self._step)
        )
        return Drift(psnr, step)


def _decibels(first: Tensor, second: Tensor) -> list[float]:
    """Of each picture; equal ones are given 148 dB."""
    found: list[float] = decibels(
        mean_squared_error(first.cpu(), second.cpu()).clamp_min(SMALLEST_MSE)
    ).tolist()
    return found
