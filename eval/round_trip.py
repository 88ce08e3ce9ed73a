"""Pictures through a tokenizer and back, with the time that each half takes.

Letters: B pictures, R resolution.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eval import machine
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Autoencoder, Tokenizer
from tokenizer.spec import Latent
from tokenizer.tiling import TilePlan


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that one batch of ``count`` pictures took."""

    count: int
    encode_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What came of one batch.

    Attributes:
        latent: on the tokenizer's device.
        x_hat: (B, 3, R, R) as decoded, about [-1, 1], on the tokenizer's device.
        fake: (B, 3, R, R) uint8 on the CPU.
        times: of both halves.
    """

    latent: Latent
    x_hat: Tensor
    fake: Tensor
    times: Times


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second."""

    both: float
    encode: float
    decode: float

    @classmethod
    def of(cls, times: Sequence[Times]) -> "Speed":
        """Over all batches but the first, which warms up, if there are others."""
        return cls.over(times[1:] or times)

    @classmethod
    def over(cls, times: Sequence[Times]) -> "Speed":
        """Over all batches."""
        count = sum(item.count for item in times)
        encode_s, decode_s = sum(item.encode_s for item in times), sum(item.decode_s for item in times)
        return cls(count / (encode_s + decode_s), count / encode_s, count / decode_s)


@torch.inference_mode()
def round_trip(
    tokenizer: Tokenizer,
    real: Tensor,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    tiles: TilePlan | None = None,
    generator: torch.Generator | None = None,
) -> RoundTrip:
    """Encode and decode pictures (B, 3, R, R), uint8 or float in [-1, 1].

    The posterior's mode is decoded; with a generator, a draw from it.

    Raises:
        ValueError: if the reconstruction holds NaN or infinity.
    """
    x = real.to(device)
    x = (from_uint8(x) if x.dtype == torch.uint8 else x).to(dtype)
    machine.synchronize(device)
    start = time.perf_counter()
    latent = tokenizer.encode(x, sample=generator is not None, generator=generator, tiles=tiles)
    machine.synchronize(device)
    middle = time.perf_counter()
    x_hat = tokenizer.decode(latent, tiles=tiles)
    machine.synchronize(device)
    times = Times(len(x), middle - start, time.perf_counter() - middle)
    return RoundTrip(latent, x_hat, to_uint8(x_hat).cpu(), times)


def with_any_statistics(tokenizer: Autoencoder) -> None:
    """Let a tokenizer without latent statistics be measured: decoding undoes what encoding normalises."""
    spec = tokenizer.spec
    if not spec.has_statistics:
        unit = {part.name: ([0.0] * part.channels, [1.0] * part.channels) for part in spec.parts}
        tokenizer.spec = spec.with_statistics(unit)
