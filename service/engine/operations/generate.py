"""Generate: a class and a seed -> pictures or latents, through ``diffusion.pipeline``.

Picture i of a request starts from the noise of seed + i. One request is one pass of the sampler.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service import wire
from service.engine.batching import Prepared
from service.engine.messages import Answer, GenerateJob
from service.engine.operations.base import Pass, latent_headers, picture_answer, to_host
from service.engine.operations.decode import decode
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.engine.models import Models


class Generate:
    """Requests run one after the other, each with all its pictures together."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def before(self, job: GenerateJob) -> Prepared[GenerateJob]:
        """Nothing to prepare; the key is the job's own, so it shares its pass with nobody."""
        return Prepared(job.id, ("generate", job.id), job.num_images * math.prod(job.size), job)

    def core(self, batch: Sequence[GenerateJob], how: Pass) -> Sequence[dict[str, Tensor] | Tensor]:
        """float32 parts (N, C, ...) for output=latent, else uint8 (N, H', W', 3)."""
        return [self._run(job, how) for job in batch]

    def after(self, job: GenerateJob, payload: GenerateJob, result: dict[str, Tensor] | Tensor) -> Answer:
        """Encode the pictures or write the latent."""
        spec_id = self._models.pipelines[job.model].spec_id
        headers = latent_headers(job.size, spec_id) | {"x-tessera-seed": str(job.seed)}
        if isinstance(result, dict):
            metadata = {"size": wire.write_size(job.size), "spec_id": spec_id, "seed": str(job.seed)}
            parts = {name: to_host(value) for name, value in result.items()}
            body = wire.write_safetensors(parts, metadata)
            return Answer(job.id, body, wire.SAFETENSORS_MEDIA_TYPE, headers)
        assert job.output != "latent"  # latents came as parts
        pictures = list(to_host(result[:, : job.size[0], : job.size[1]].contiguous()))
        facts: dict[str, object] = {"seed": job.seed, "size": list(job.size), "spec_id": spec_id}
        return picture_answer(job.id, pictures, job.output, headers, facts, quality=job.quality)

    def _run(self, job: GenerateJob, how: Pass) -> dict[str, Tensor] | Tensor:
        latent = self._models.pipelines[job.model].generate(
            [job.label] * job.num_images,
            seed=job.seed,
            num_steps=job.num_steps,
            guidance=job.guidance,
            size=job.size,
            output="latent",
        )
        if job.output == "latent":
            return {name: value.float() for name, value in latent.parts.items()}
        tokenizer = self._models.tokenizer_of[job.model]
        parts = {name: value.to(self._models.dtype) for name, value in latent.parts.items()}
        padded = self._models.tokenizers[tokenizer].spec.padded(job.size)
        return decode(self._models, tokenizer, Latent(parts, padded), how)
