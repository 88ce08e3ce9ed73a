"""Decode: a checked latent -> pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from service.engine.batching import Prepared
from service.engine.messages import Answer, DecodeJob
from service.engine.operations.base import latent_headers, picture_answer, pin, to_host, to_pixels
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.engine.models import Models


@dataclass(frozen=True, slots=True)
class LatentOnHost:
    """Parts (B, C, ...) float32 on their way to the network, and the padded size that they decode to."""

    model: str
    parts: dict[str, Tensor]
    padded: tuple[int, int]


class Decode:
    """Latents of equal padded size share a pass and are cropped each to its own size."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: DecodeJob) -> Prepared[LatentOnHost]:
        """Copy out of the message, pin."""
        device = self._models.device
        parts = {name: pin(torch.from_numpy(np.array(part)), device) for name, part in job.parts.items()}
        height, width = self._models.tokenizers[job.model].spec.padded(job.size)
        samples = next(iter(parts.values())).shape[0]
        key = ("decode", job.model, height, width)
        return Prepared(
            job.id, key, samples * height * width, LatentOnHost(job.model, parts, (height, width))
        )

    def core(self, batch: Sequence[LatentOnHost]) -> Sequence[Tensor]:
        """uint8 (B, H', W', 3) of each payload."""
        device, dtype = self._models.device, self._models.dtype
        counts = [next(iter(item.parts.values())).shape[0] for item in batch]
        parts = {
            name: torch.cat([item.parts[name].to(device, non_blocking=True) for item in batch]).to(dtype)
            for name in batch[0].parts
        }
        pixels = decode(self._models, batch[0].model, parts, batch[0].padded)
        return torch.split(pixels, counts)

    def after(self, job: DecodeJob, payload: LatentOnHost, result: Tensor) -> Answer:
        """Crop and encode."""
        headers = latent_headers(job.size, self._models.tokenizers[job.model].spec_id)
        pictures = list(to_host(result[:, : job.size[0], : job.size[1]].contiguous()))
        facts: dict[str, object] = {"size": list(job.size), "spec_id": headers["x-tessera-spec"]}
        return picture_answer(job.id, pictures, job.output, headers, facts)


def decode(models: Models, model: str, parts: dict[str, Tensor], padded: tuple[int, ...]) -> Tensor:
    """Parts (B, C, ...) on the device -> uint8 (B, H', W', 3); no pass exceeds the batch limit in pixels."""
    tokenizer = models.tokenizers[model]
    samples = max(1, models.settings.batch_pixels // math.prod(padded))
    chunks = {name: torch.split(value, samples) for name, value in parts.items()}
    pictures = []
    for index in range(len(next(iter(chunks.values())))):
        latent = Latent({name: value[index] for name, value in chunks.items()}, padded, tokenizer.spec_id)
        pictures.append(to_pixels(tokenizer.decode(latent, tiles=models.tiles(padded))))
    return torch.cat(pictures)
