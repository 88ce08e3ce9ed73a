"""Encode: pictures -> their latents or indices, or a picture of them.

Letters: B batch, N pictures of one request, C latent channels, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from service import codecs, latent_picture, wire
from service.engine.batching import Prepared
from service.engine.messages import Answer, EncodeJob
from service.engine.operations.base import (
    Pass,
    latent_headers,
    pad_edges,
    pad_rows,
    pin,
    scaled,
    to_host,
)
from service.engine.operations.foreign import from_normalised, tensor_answer
from service.errors import WrongShape
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.codecs import Pixels
    from service.engine.messages import Pictures
    from service.engine.models import Models


@dataclass(frozen=True, slots=True)
class Picture:
    """The pictures of one request on their way to the network.

    Attributes:
        model: name of the tokenizer.
        size: (H, W) before padding.
        padded: uint8 (N, H', W', 3), or float32 (N, 3, H', W') in [-1, 1], on the host, pinned for CUDA.
        original: before padding: a view of what was decoded.
        source_bytes: of what was sent.
        num_tokens: of a row of tokens the first so many.
    """

    model: str
    size: tuple[int, int]
    padded: Tensor
    original: Pixels | wire.Array
    source_bytes: int
    num_tokens: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What pictures of a shared pass have in common."""
        return (self.model, tuple(self.padded.shape[1:]), str(self.padded.dtype), self.num_tokens)

    @property
    def cost(self) -> int:
        """Pixels after padding."""
        return self.padded.numel() // 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the network made of a request: float32 parts (N, C, ...), and int64 indices (N, ...) if discrete."""

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
        picture = prepare(self._models, job.model, job.body, job.num_tokens)
        return Prepared(job.id, ("encode", *picture.key), picture.cost, picture, rows=picture.padded.shape[0])

    def core(self, batch: Sequence[Picture], how: Pass) -> Sequence[Encoded]:
        """Each request's own."""
        latent = encode(self._models, batch, how)
        counts = [picture.padded.shape[0] for picture in batch]
        parts = {name: torch.split(value.float(), counts) for name, value in latent.parts.items()}
        (codes,) = latent.indices.values() or (None,)
        indices = [None] * len(batch) if codes is None else torch.split(codes, counts)
        return [
            Encoded({name: pieces[place] for name, pieces in parts.items()}, indices[place])
            for place in range(len(batch))
        ]

    def after(self, job: EncodeJob, payload: Picture, result: Encoded) -> Answer:
        """Write the format asked for."""
        tokenizer = self._models.tokenizers[job.model]
        headers = sizes_headers(self._models, payload)
        if job.convention is not None:
            raw = from_normalised(result.parts[tokenizer.spec.z.name], tokenizer.spec, job.convention)
            return tensor_answer(job.id, raw.to(self._models.dtype), headers)
        if job.what == "indices":
            return self._indices(job, payload, result, headers)
        parts = {name: to_host(value) for name, value in result.parts.items()}
        if job.format == "png":
            z = next(iter(parts.values()))[0]
            picture = latent_picture.PICTURES[job.view](z[:, 0] if z.ndim == 4 else z)  # a clip of one frame
            return Answer(job.id, codecs.encode(picture, "png"), codecs.MEDIA_TYPES["png"], headers)
        metadata = {"size": wire.write_size(payload.size), "spec_id": tokenizer.spec_id}
        written = wire.write_latent(parts, metadata, file_format=job.format, dtype=job.dtype)
        return Answer(job.id, written.body, written.media_type, headers | written.headers)

    def _indices(self, job: EncodeJob, payload: Picture, result: Encoded, headers: dict[str, str]) -> Answer:
        tokenizer = self._models.tokenizers[job.model]
        part = tokenizer.spec.z
        assert result.indices is not None  # the route asks discrete tokenizers only
        array = to_host(result.indices).astype(part.index_dtype)
        if job.format == "png":
            codes = array[0].squeeze(-3) if part.layout == "3d" else array[0]
            picture = latent_picture.index_maps(codes, part, tokenizer.spec.padded(payload.size))
            return Answer(job.id, codecs.encode(picture, "png"), codecs.MEDIA_TYPES["png"], headers)
        metadata = {
            "size": wire.write_size(payload.size),
            "spec_id": tokenizer.spec_id,
            "codebook_size": str(part.codebook_size),
            "num_codebooks": str(part.num_codebooks),
        }
        written = wire.write_indices(array, metadata, job.format)
        return Answer(job.id, written.body, written.media_type, headers | written.headers)


def prepare(models: Models, model: str, body: Pictures, num_tokens: int | None = None) -> Picture:
    """Decode, pad, pin: the host work of every operation that starts from pictures.

    Raises:
        WrongShape: files of several sizes, though their headers said one.
    """
    spec = models.tokenizers[model].spec
    original: Pixels | wire.Array
    if isinstance(body, np.ndarray):
        original, source_bytes = body, body.nbytes
    else:
        files = (body,) if isinstance(body, bytes) else body
        pictures = [codecs.decode(file, models.settings.max_pixels) for file in files]
        if len({picture.shape for picture in pictures}) != 1:
            raise WrongShape(
                "the pictures of one request must be of one size: send them one by one", param="file"
            )
        original = pictures[0][None] if len(pictures) == 1 else np.stack(pictures)
        source_bytes = sum(map(len, files))
    first = 1 if original.dtype == np.uint8 else 2  # N H W 3, or N 3 H W
    size = (original.shape[first], original.shape[first + 1])
    padded = pad_edges(original, spec.padded(size), first=first)
    # A body's view is read-only, which torch must not be given.
    tensor = torch.from_numpy(padded if padded.flags.writeable else padded.copy())
    return Picture(model, size, pin(tensor, models.device), original, source_bytes, num_tokens)


def encode(models: Models, batch: Sequence[Picture], how: Pass) -> Latent:
    """The normalised latents of pictures of one padded size, on the device, in passes of the bucket's rows."""
    tokenizer = models.tokenizers[batch[0].model]
    pixels = torch.cat([picture.padded.to(models.device, non_blocking=True) for picture in batch])
    x = scaled(pixels, models.dtype) if pixels.dtype == torch.uint8 else pixels.to(models.dtype)
    tiles = models.tiles(tuple(x.shape[2:]), tiled=how.tiled)
    pieces = [
        tokenizer.encode(
            pad_rows(x[first : first + how.bucket], how.bucket), num_tokens=batch[0].num_tokens, tiles=tiles
        )
        for first in range(0, x.shape[0], how.bucket)
    ]
    count = x.shape[0]
    parts = {name: torch.cat([piece.parts[name] for piece in pieces])[:count] for name in pieces[0].parts}
    indices = {
        name: torch.cat([piece.indices[name] for piece in pieces])[:count] for name in pieces[0].indices
    }
    return Latent(parts, pieces[0].size, pieces[0].spec_id, indices)


def sizes_headers(models: Models, picture: Picture) -> dict[str, str]:
    """What the answer says about bytes: of what was sent, of the pixels, of the latents at their rate."""
    tokenizer = models.tokenizers[picture.model]
    count = picture.padded.shape[0]
    bits = tokenizer.spec.bits(picture.size)
    if picture.num_tokens is not None:
        bits *= picture.num_tokens / tokenizer.spec.z.token_range[1]
    return latent_headers(picture.size, tokenizer.spec_id) | {
        "x-tessera-source-bytes": str(picture.source_bytes),
        "x-tessera-pixel-bytes": str(3 * count * math.prod(picture.size)),
        "x-tessera-latent-bytes": str(math.ceil(count * bits / 8)),
    }
