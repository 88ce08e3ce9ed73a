"""Encode: a picture's bytes -> its latent or its indices, or a picture of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from service import codecs, latent_picture, wire
from service.engine.batching import Prepared
from service.engine.messages import Answer, EncodeJob
from service.engine.operations.base import (
    Pass,
    from_pixels,
    latent_headers,
    pad_pixels,
    pad_rows,
    pin,
    to_host,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.codecs import Pixels
    from service.engine.models import Models
    from tokenizer.spec import Latent


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on its way to the network.

    Attributes:
        model: name of the tokenizer.
        size: (H, W) before padding.
        padded: uint8 (H', W', 3) on the host, pinned for CUDA.
        original: uint8 (H, W, 3), a view of what was decoded.
    """

    model: str
    size: tuple[int, int]
    padded: Tensor
    original: Pixels


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the network made of one picture: float32 parts (1, C, ...), and int64 indices (1, ...) if discrete."""

    parts: dict[str, Tensor]
    indices: Tensor | None


class Encode:
    """Pictures of equal padded size share a pass; tiles are planned from the size, so the result is the same
    alone.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: EncodeJob) -> Prepared[Picture]:
        """Decode and pad."""
        picture = prepare(self._models, job.model, job.body)
        key = ("encode", job.model, tuple(picture.padded.shape))
        return Prepared(job.id, key, math.prod(picture.padded.shape[:2]), picture)

    def core(self, batch: Sequence[Picture], how: Pass) -> Sequence[Encoded]:
        """Each picture's own."""
        latent = encode(self._models, batch, how)
        (codes,) = latent.indices.values() or (None,)
        return [
            Encoded(
                {name: value[index : index + 1].float() for name, value in latent.parts.items()},
                None if codes is None else codes[index : index + 1],
            )
            for index in range(len(batch))
        ]

    def after(self, job: EncodeJob, payload: Picture, result: Encoded) -> Answer:
        """Write the format asked for."""
        tokenizer = self._models.tokenizers[job.model]
        headers = sizes_headers(self._models, payload, len(job.body))
        if job.what == "indices":
            return self._indices(job, payload, result, headers)
        parts = {name: to_host(value) for name, value in result.parts.items()}
        if job.format == "png":
            picture = latent_picture.PICTURES[job.view](next(iter(parts.values()))[0])
            return Answer(job.id, codecs.encode(picture, "png"), codecs.MEDIA_TYPES["png"], headers)
        if job.format == "npy":
            return Answer(job.id, wire.write_npy(parts["z"]), codecs.MEDIA_TYPES["npy"], headers)
        metadata = {"size": wire.write_size(payload.size), "spec_id": tokenizer.spec_id}
        return Answer(job.id, wire.write_safetensors(parts, metadata), wire.SAFETENSORS_MEDIA_TYPE, headers)

    def _indices(self, job: EncodeJob, payload: Picture, result: Encoded, headers: dict[str, str]) -> Answer:
        tokenizer = self._models.tokenizers[job.model]
        part = tokenizer.spec.z
        assert result.indices is not None  # the route asks discrete tokenizers only
        array = to_host(result.indices).astype(part.index_dtype)
        if job.format == "png":
            picture = latent_picture.index_maps(array[0], part, tokenizer.spec.padded(payload.size))
            return Answer(job.id, codecs.encode(picture, "png"), codecs.MEDIA_TYPES["png"], headers)
        if job.format == "npy":
            return Answer(job.id, wire.write_npy(array), codecs.MEDIA_TYPES["npy"], headers)
        metadata = {
            "size": wire.write_size(payload.size),
            "spec_id": tokenizer.spec_id,
            "codebook_size": str(part.codebook_size),
            "num_codebooks": str(part.num_codebooks),
        }
        body = wire.write_safetensors({wire.INDICES: array}, metadata)
        return Answer(job.id, body, wire.SAFETENSORS_MEDIA_TYPE, headers)


def prepare(models: Models, model: str, body: bytes) -> Picture:
    """Decode, pad, pin: the host work of every operation that starts from a picture."""
    pixels = codecs.decode(body, models.settings.max_pixels)
    size = (pixels.shape[0], pixels.shape[1])
    padded = pad_pixels(pixels, models.tokenizers[model].spec.padded(size))
    return Picture(model, size, pin(torch.from_numpy(padded), models.device), pixels)


def encode(models: Models, batch: Sequence[Picture], how: Pass) -> Latent:
    """The normalised latent of pictures of one padded size, on the device; rows beyond the batch are padding."""
    assert len(batch) <= how.bucket  # the schedule cuts what is more
    x = from_pixels([picture.padded for picture in batch], models.device, models.dtype)
    tiles = models.tiles(tuple(x.shape[2:]), tiled=how.tiled)
    return models.tokenizers[batch[0].model].encode(pad_rows(x, how.bucket), tiles=tiles)


def sizes_headers(models: Models, picture: Picture, source_bytes: int) -> dict[str, str]:
    """What the answer says about bytes: of the file sent, of the pixels, of the latent at its rate."""
    tokenizer = models.tokenizers[picture.model]
    return latent_headers(picture.size, tokenizer.spec_id) | {
        "x-tessera-source-bytes": str(source_bytes),
        "x-tessera-pixel-bytes": str(3 * math.prod(picture.size)),
        "x-tessera-latent-bytes": str(math.ceil(tokenizer.spec.bits(picture.size) / 8)),
    }
