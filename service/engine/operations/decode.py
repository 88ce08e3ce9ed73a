"""Decode: a checked latent, or the indices that stand for it -> pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from service.engine.batching import Prepared
from service.engine.decoding import AS_IT_IS, Decoding
from service.engine.messages import Answer, DecodeJob
from service.engine.operations.base import (
    Pass,
    latent_headers,
    pad_rows,
    picture_answer,
    pin,
    to_host,
    to_pixels,
)
from service.engine.operations.foreign import tensor_answer, to_normalised, to_unit
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from service.engine.models import Models


@dataclass(frozen=True, slots=True)
class LatentOnHost:
    """A latent on its way to the network.

    Attributes:
        model: name of the tokenizer.
        tensors: parts (B, C, ...) float32, or indices (B, ...) int64, by part.
        coded: whether they are indices.
        padded: the size that they decode to.
        floating: whether x_hat itself is wanted, not pixels.
        decoding: of its tokens, steps and noise.
    """

    model: str
    tensors: dict[str, Tensor]
    coded: bool
    padded: tuple[int, int]
    floating: bool = False
    decoding: Decoding = AS_IT_IS


class Decode:
    """Latents of equal padded size share a pass and are cropped each to its own size."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: DecodeJob) -> Prepared[LatentOnHost]:
        """Copy out of the message, bring to the spec's convention, pin."""
        device = self._models.device
        spec = self._models.tokenizers[job.model].spec
        coded = job.indices is not None
        arrays = {name: np.array(part) for name, part in job.parts.items()}
        if job.indices is not None:
            arrays = {spec.z.name: job.indices.astype(np.int64)}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if job.convention is not None:
            tensors = {name: to_normalised(z, spec, job.convention) for name, z in tensors.items()}
        tensors = {name: pin(tensor, device) for name, tensor in tensors.items()}
        height, width = spec.padded(job.size)
        samples = next(iter(tensors.values())).shape[0]
        floating = job.tensor in ("x_hat", "unit")
        shapes = tuple(tensor.shape[1:] for tensor in tensors.values())  # rows of tokens may be shorter
        kind = job.decoding.pass_name("decode")
        key = (kind, job.model, height, width, coded, floating, shapes, job.decoding)
        payload = LatentOnHost(job.model, tensors, coded, (height, width), floating, job.decoding)
        return Prepared(job.id, key, samples * height * width, payload, rows=samples)

    def core(self, batch: Sequence[LatentOnHost], how: Pass) -> Sequence[Tensor]:
        """uint8 (B, H', W', 3) of each payload, or x_hat (B, 3, H', W') where that is wanted."""
        device, dtype = self._models.device, self._models.dtype
        first = batch[0]
        counts = [next(iter(item.tensors.values())).shape[0] for item in batch]
        tensors = {
            name: torch.cat([item.tensors[name].to(device, non_blocking=True) for item in batch])
            for name in first.tensors
        }
        if first.coded:
            latent = Latent({}, first.padded, indices=tensors)
        else:
            latent = Latent({name: value.to(dtype) for name, value in tensors.items()}, first.padded)
        wanted = decode_floating if first.floating else decode
        return torch.split(wanted(self._models, first.model, latent, how, first.decoding), counts)

    def after(self, job: DecodeJob, payload: LatentOnHost, result: Tensor) -> Answer:
        """Crop and encode."""
        headers = latent_headers(job.size, self._models.tokenizers[job.model].spec_id)
        height, width = job.size
        if payload.floating:
            x_hat = result[:, :, :height, :width]
            return tensor_answer(job.id, to_unit(x_hat) if job.tensor == "unit" else x_hat, headers)
        cropped = result[:, :height, :width].contiguous()
        if job.tensor == "uint8":
            return tensor_answer(job.id, cropped, headers)
        pictures = list(to_host(cropped))
        facts: dict[str, object] = {"size": list(job.size), "spec_id": headers["x-tessera-spec"]}
        return picture_answer(
            job.id, pictures, job.output, headers, facts, quality=job.quality, bundle=job.bundle
        )


def decode(models: Models, model: str, latent: Latent, how: Pass, decoding: Decoding = AS_IT_IS) -> Tensor:
    """A latent of a padded size, on the device -> uint8 (B, H', W', 3), in passes of the bucket's rows."""
    return torch.cat([to_pixels(x_hat) for x_hat in _passes(models, model, latent, how, decoding)])


def decode_floating(
    models: Models, model: str, latent: Latent, how: Pass, decoding: Decoding = AS_IT_IS
) -> Tensor:
    """The same -> x_hat (B, 3, H', W'), about [-1, 1], as the network gives it."""
    return torch.cat(list(_passes(models, model, latent, how, decoding)))


def _passes(models: Models, model: str, latent: Latent, how: Pass, decoding: Decoding) -> Iterator[Tensor]:
    tokenizer = models.tokenizers[model]
    tiles = models.tiles(latent.size, tiled=how.tiled)
    count = len(next(iter((latent.parts or latent.indices).values())))
    for first in range(0, count, how.bucket):
        parts, indices = (
            {name: pad_rows(value[first : first + how.bucket], how.bucket) for name, value in tensors.items()}
            for tensors in (latent.parts, latent.indices)
        )
        piece = Latent(parts, latent.size, tokenizer.spec_id, indices)
        noise = None if decoding.seed is None else torch.Generator().manual_seed(decoding.seed)
        x_hat = tokenizer.decode(
            piece,
            generator=noise,
            num_steps=decoding.num_steps,
            num_tokens=decoding.num_tokens,
            tiles=tiles,
        )
        yield x_hat[: count - first]
