"""Generate: a class and a seed, or a picture on the way to noise -> pictures or latents.

Picture i of a request starts from the noise of seed + i. The steps are made by ``stepping``, beside those of other
requests; what they end with is decoded here.

Letters: N pictures of the request, C latent channels, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion.image_to_image import mask_pixels, picture_pixels
from service import codecs, wire
from service.engine.batching import Prepared
from service.engine.messages import Answer, GenerateJob
from service.engine.operations.base import Pass, latent_headers, picture_answer, to_host
from service.engine.operations.decode import decode
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from diffusion.image_to_image import Given
    from service.engine.messages import Sampler
    from service.engine.models import Models

# Longest side of a preview in pixels; what its latent has is scaled to it.
PREVIEW_SIDE = 256
PREVIEW_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Start:
    """What a request's pictures start from.

    Attributes:
        eps: (N, C, H', W') float32 noise, on the device.
        label: index, the null label included.
        guidance: 1 for none.
        times: of the steps, from 1, or below it for a given picture, to 0.
        sampler: of all of them.
        picture: (1, 3, H, W) in [-1, 1] that they start from, or None for noise.
        mask: with it, (1, 1, H, W) with 1 where it is made anew, or None for everywhere.
    """

    eps: Tensor
    label: int
    guidance: float
    times: tuple[float, ...]
    sampler: Sampler
    picture: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """Latents that have made all their steps.

    Attributes:
        model: name of the generator.
        z: (N, C, H', W') float32, normalised.
        kept: with a mask, (1, C, H', W') the latent of the given picture, which stays outside of it.
        mask: with it, (1, 1, H, W) with 1 where the picture was made anew.
    """

    model: str
    z: Tensor
    kept: Tensor | None = None
    mask: Tensor | None = None


class Generate:
    """The ends of generation: what the steps start from, and the decoding of what they made."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: GenerateJob) -> Prepared[Start]:
        """Draw the noise of every picture; read the picture and the mask to start from."""
        pipeline = self._models.pipelines[job.model]
        picture, mask = self._given(job)
        strength = 1.0 if picture is None else job.strength
        start = Start(
            eps=pipeline.noise([job.seed + index for index in range(job.num_images)]),
            label=pipeline.denoiser.num_classes if job.label is None else job.label,
            guidance=job.guidance,
            times=tuple(pipeline.generator.times(job.num_steps, strength=strength).tolist()),
            sampler=job.sampler,
            picture=picture,
            mask=mask,
        )
        cost = job.num_images * math.prod(job.size)
        key = ("step", job.model, *job.size)
        return Prepared(job.id, key, cost, start, rows=job.num_images, stepped=True)

    def made(self, job: GenerateJob, z: Tensor, start: Start, given: Given | None) -> Prepared[Made] | Made:
        """The steps are done: z (N, C, H', W') to be decoded, or as it is if latents were asked for."""
        tokenizer = self._models.tokenizer_of[job.model]
        height, width = self._models.tokenizers[tokenizer].spec.padded(job.size)
        masked = given is not None and start.mask is not None
        payload = Made(job.model, z, given.z[:1] if given and masked else None, start.mask)
        if job.output == "latent":
            return payload
        rows = len(z) + masked
        key = ("decode", tokenizer, height, width, "made")
        return Prepared(job.id, key, rows * height * width, payload, rows=rows)

    def core(self, batch: Sequence[Made], how: Pass) -> Sequence[Tensor]:
        """uint8 (N, H', W', 3) of each payload."""
        models = self._models
        tokenizer = models.tokenizer_of[batch[0].model]
        spec = models.tokenizers[tokenizer].spec
        size = spec.padded(models.pipelines[batch[0].model].sizes[0])
        rows = [item.z if item.kept is None else torch.cat([item.z, item.kept]) for item in batch]
        latent = Latent({spec.z.name: torch.cat(rows).to(models.dtype)}, size)
        pixels = torch.split(decode(models, tokenizer, latent, how), [len(item) for item in rows])
        return [_outside_as_it_was(made, item) for made, item in zip(pixels, batch, strict=True)]

    def after(self, job: GenerateJob, payload: Made, result: Tensor | None) -> Answer:
        """Encode the pictures or write the latent."""
        spec_id = self._models.pipelines[job.model].spec_id
        headers = latent_headers(job.size, spec_id) | {"x-tessera-seed": str(job.seed)}
        if job.output == "latent":
            metadata = {"size": wire.write_size(job.size), "spec_id": spec_id, "seed": str(job.seed)}
            name = self._models.tokenizers[self._models.tokenizer_of[job.model]].spec.z.name
            parts = {name: to_host(payload.z)}
            written = wire.write_latent(parts, metadata, file_format=job.latent_format, dtype=job.dtype)
            return Answer(job.id, written.body, written.media_type, headers | written.headers)
        assert result is not None  # only latents are not decoded
        pictures = list(to_host(result[:, : job.size[0], : job.size[1]].contiguous()))
        facts: dict[str, object] = {"seed": job.seed, "size": list(job.size), "spec_id": spec_id}
        return picture_answer(job.id, pictures, job.output, headers, facts, quality=job.quality)

    def preview(self, job: GenerateJob, clean: Callable[[], Tensor]) -> bytes | None:
        """A small JPEG of where a picture is heading; None for a tokenizer without a projection to colours."""
        tokenizer = self._models.tokenizers[self._models.tokenizer_of[job.model]]
        projection = getattr(tokenizer, "projection", None)  # others' autoencoders may have none
        if projection is None:
            return None
        image = Image.fromarray(projection.pixels(clean())[0].cpu().numpy())
        scale = min(1.0, PREVIEW_SIDE / max(job.size))
        size = (max(1, round(job.size[1] * scale)), max(1, round(job.size[0] * scale)))
        pixels: codecs.Pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        return codecs.encode(pixels, "jpeg", quality=PREVIEW_QUALITY)

    def _given(self, job: GenerateJob) -> tuple[Tensor | None, Tensor | None]:
        """The picture and the mask that were sent, scaled and cut to the size."""
        if job.init is None:
            return None, None
        limit = self._models.settings.max_pixels
        picture = picture_pixels(Image.fromarray(codecs.decode(job.init, limit)), job.size)
        if job.mask is None:
            return picture, None
        return picture, mask_pixels(Image.fromarray(codecs.decode_mask(job.mask, limit)), job.size)


def _outside_as_it_was(pixels: Tensor, item: Made) -> Tensor:
    """uint8 (N, H', W', 3): with a mask, the last row is the given picture, which stays outside of it.

    A decoder sees across the mask's border; this keeps what lies outside exactly.
    """
    if item.kept is None or item.mask is None:
        return pixels
    made, kept = pixels[:-1], pixels[-1:]
    height, width = item.mask.shape[2:]
    mask = item.mask.to(pixels.device).permute(0, 2, 3, 1)  # 1 H W 1
    inside = made[:, :height, :width].float()
    mixed = torch.lerp(kept[:, :height, :width].float().expand_as(inside), inside, mask.expand_as(inside))
    return mixed.round().to(torch.uint8)
