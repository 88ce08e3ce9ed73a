"""Reconstruct: a picture -> what encoding and decoding leave of it, with the PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from service.engine.batching import Prepared
from service.engine.messages import Answer, ReconstructJob
from service.engine.operations.base import Pass, picture_answer, to_host
from service.engine.operations.decode import decode
from service.engine.operations.encode import Picture, encode, prepare, sizes_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.codecs import Pixels
    from service.engine.decoding import Decoding
    from service.engine.models import Models


@dataclass(frozen=True, slots=True)
class Trip:
    """A picture on its way there and back."""

    picture: Picture
    decoding: Decoding


class Reconstruct:
    """Encode and decode in one pass; what comes out is what /v1/encode and /v1/decode give one after the
    other.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: ReconstructJob) -> Prepared[Trip]:
        """Decode and pad."""
        decoding = job.decoding
        picture = prepare(self._models, job.model, job.body, decoding.num_tokens)
        key = (decoding.pass_name("reconstruct"), *picture.key, decoding)
        return Prepared(job.id, key, picture.cost, Trip(picture, decoding))

    def core(self, batch: Sequence[Trip], how: Pass) -> Sequence[Tensor]:
        """uint8 (1, H', W', 3) of each picture."""
        latent = encode(self._models, [trip.picture for trip in batch], how)
        first = batch[0]
        return torch.split(decode(self._models, first.picture.model, latent, how, first.decoding), 1)

    def after(self, job: ReconstructJob, payload: Trip, result: Tensor) -> Answer:
        """Crop, measure, encode."""
        picture = payload.picture
        height, width = picture.size
        pixels: Pixels = to_host(result[:, :height, :width].contiguous())[0]
        original: Pixels = picture.original[0].astype(np.uint8, copy=False)
        headers = sizes_headers(self._models, picture)
        headers["x-tessera-psnr"] = f"{psnr(original, pixels):.4f}"
        return picture_answer(job.id, [pixels], job.output, headers, {}, quality=job.quality)


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures, over all channels; infinite when they are
    equal.
    """
    difference = a.astype(np.int32) - b.astype(np.int32)
    squared = float(np.mean(np.square(difference), dtype=np.float64))
    return math.inf if squared == 0 else 10 * math.log10(255**2 / squared)
