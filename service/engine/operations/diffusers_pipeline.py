"""Generate with a pipeline of diffusers: whole requests of equal settings share a call, padded to a bucket of rows.

Picture i of a request starts from the noise of seed + i. A call is ended at a step when nobody waits for any of its
requests any more.

Letters: B rows of a call, N pictures of a request, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from service.engine.batching import Prepared
from service.engine.foreign_pipeline import Row
from service.engine.messages import Answer, PipelineJob
from service.engine.operations.base import Pass, latent_headers, picture_answer, to_host
from service.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from service.engine.foreign_pipeline import Settings
    from service.engine.models import Models
    from service.engine.operations.base import Outlook


@dataclass(frozen=True, slots=True)
class Rows:
    """The pictures of one request: N rows."""

    job_id: int
    model: str
    rows: tuple[Row, ...]
    settings: Settings


class DiffusersPipeline:
    """Requests of one pipeline with equal steps, guidance and size share a call.

    Args:
        models: the pipelines.
        outlook: whether anybody still waits, and whom to tell of steps.
    """

    def __init__(self, models: Models, outlook: Outlook) -> None:
        self._models = models
        self._outlook = outlook

    def before(self, job: PipelineJob) -> Prepared[Rows]:
        """Let the pipeline look at what is asked for."""
        if job.init is not None or job.mask is not None or job.sampler != "euler":
            raise InvalidParameter(
                f"generator {job.model!r} is a pipeline of diffusers, which starts from noise by steps of its own: "
                "leave image, mask and sampler out, or name a model of another family",
                param="model",
            )
        pipeline = self._models.foreign[job.model]
        settings = pipeline.settings(job.num_steps, job.guidance, job.size)
        rows = tuple(
            Row(job.seed + index, job.label, job.prompt, job.negative_prompt)
            for index in range(job.num_images)
        )
        pipeline.check(rows[0], settings)
        texts = (job.prompt, job.negative_prompt) if pipeline.mixes_texts else job.negative_prompt is None
        key = ("pipeline", job.model, *job.size, settings, texts)
        cost = len(rows) * math.prod(job.size)
        return Prepared(job.id, key, cost, Rows(job.id, job.model, rows, settings), rows=len(rows))

    def core(self, batch: Sequence[Rows], how: Pass) -> Sequence[Tensor]:
        """uint8 (N, H, W, 3) of each request."""
        pipeline = self._models.foreign[batch[0].model]
        rows = [row for item in batch for row in item.rows]
        calls = [rows[first : first + how.bucket] for first in range(0, len(rows), how.bucket)]
        pictures = []
        with pipeline.tiled(how.tiled):
            for done, call in enumerate(calls):
                padded = call + call[-1:] * (how.bucket - len(call))
                watch = _Watch(self._outlook, batch, done, len(calls))
                pictures.append(pipeline.run(padded, batch[0].settings, watch)[: len(call)])
        return torch.split(torch.cat(pictures), [len(item.rows) for item in batch])

    def after(self, job: PipelineJob, payload: Rows, result: Tensor) -> Answer:
        """Encode the pictures."""
        assert job.output != "latent"  # the route asks pipelines for pictures only
        pictures = list(to_host(result))
        size = pictures[0].shape[:2]
        spec_id = self._models.foreign[job.model].facts.spec_id
        headers = latent_headers(size, spec_id) | {"x-tessera-seed": str(job.seed)}
        facts: dict[str, object] = {"seed": job.seed, "size": list(size), "spec_id": spec_id}
        return picture_answer(job.id, pictures, job.output, headers, facts, quality=job.quality)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Called after every step of one of several calls in a row."""

    outlook: Outlook
    batch: Sequence[Rows]
    calls_done: int
    calls: int

    def __call__(self, step: int, num_steps: int) -> None:
        reasons = [self.outlook.over(item.job_id) for item in self.batch]
        for item in self.batch:
            self.outlook.stepped(item.job_id, self.calls_done * num_steps + step, self.calls * num_steps)
        if reasons[0] is not None and None not in reasons:
            raise reasons[0]
