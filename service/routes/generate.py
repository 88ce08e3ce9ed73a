"""Generate pictures or latents of a class or a text, in one answer or as a stream of events."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service import codecs, wire
from service.bodies import MAX_JSON_BYTES
from service.engine.messages import GenerateJob, PipelineJob
from service.errors import InvalidParameter
from service.routes.answers import (
    PICTURE_TYPES,
    SIZE_HEADERS,
    Envelope,
    envelope,
    error_answers,
    file_answer,
    outlives_client,
    run,
)
from service.routes.deferred import DEFERRABLE
from service.routes.streams import admitted, error_told, result_event, tell
from service.schemas import GenerateRequest
from service.sse import Events, EventStream
from service.state import Service, service_of
from tokenizer.core.config import explain

if TYPE_CHECKING:
    from service.registry import ServedGenerator

router = APIRouter()

RANDOM_SEEDS = 2**32
# A sampling step costs about an eighth of a decode, in the pixels that admission counts.
STEPS_PER_DECODE = 8
ANSWER: dict[str, Any] = file_answer(  # OpenAPI is JSON
    (*PICTURE_TYPES, wire.SAFETENSORS_MEDIA_TYPE), SIZE_HEADERS | {"x-tessera-seed": "The seed used."}
)
ANSWER["content"] = ANSWER["content"] | {
    "application/json": {"schema": {"$ref": "#/components/schemas/PicturesAnswer"}},
    "text/event-stream": {"schema": {"type": "string"}},
}


@router.post(
    "/v1/generate",
    response_class=Response,
    responses={200: ANSWER, **DEFERRABLE, **error_answers(400, 404, 408, 413, 422, 507)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/GenerateRequest"}}},
        }
    },
)
async def generate(request: Request) -> Response:
    """A class or a text, and a seed -> one picture raw, several as JSON, latents, or a stream of events."""
    service = service_of(request)
    service.engine.require_ready()
    async with service.bodies.read(request, max_bytes=MAX_JSON_BYTES) as body:
        try:
            asked = GenerateRequest.model_validate_json(body)
        except ValidationError as error:
            raise _refusal(error) from None
    job = generate_job(service, asked, envelope(request, service))
    return await _stream(service, request, job) if asked.stream else await run(service, request, job)


async def _stream(service: Service, request: Request, job: GenerateJob) -> EventStream:
    """News while the steps run, then the result; see ``service/sse.py`` for slow clients and those that leave."""
    events = Events()
    work = await admitted(service, job, partial(tell, events))

    async def finish() -> None:
        events.put(await asyncio.to_thread(result_event, await work, job.seed))

    return EventStream(
        events,
        finish,
        on_error=partial(error_told, request),
        outlive_client=outlives_client(request),
        headers={"x-tessera-seed": str(job.seed)},
    )


def generate_job(service: Service, asked: GenerateRequest, told: Envelope) -> GenerateJob:
    """The job that a request asks for, checked against its model and the limits of this server.

    Raises:
        UnknownModel, UnknownLabel, WrongSize, TooManyPixels, InvalidParameter.
    """
    model = service.registry.generator(asked.model)
    settings = service.settings
    num_steps = model.num_steps if asked.num_steps is None else asked.num_steps
    guidance = model.checked_guidance(asked.guidance)
    limits = (
        ("num_images", asked.num_images, settings.max_images),
        ("num_steps", num_steps, settings.max_steps),
        ("guidance", guidance, settings.max_guidance),
    )
    for name, value, limit in limits:
        if value > limit:
            raise InvalidParameter(
                f"{name} is {value}, this server takes up to {limit}: ask for less", param=name
            )
    condition = model.condition(asked.label, asked.prompt, asked.negative_prompt)
    size = model.size(asked.size)
    model.check_output(asked.output, size, settings.max_pixels)
    _check_formats(service, asked, model, size)
    kind = GenerateJob if model.pipeline is None else PipelineJob
    return kind(
        id=service.engine.next_id(),
        model=model.name,
        cost=cost_of(asked.num_images, size, num_steps),
        submitted_at=time.monotonic(),
        label=condition.label,
        prompt=condition.prompt,
        negative_prompt=condition.negative_prompt,
        num_images=asked.num_images,
        num_steps=num_steps,
        guidance=guidance,
        seed=secrets.randbelow(RANDOM_SEEDS) if asked.seed is None else asked.seed,
        size=size,
        output=asked.output,
        quality=asked.quality,
        latent_format=asked.format or "safetensors",
        dtype=asked.dtype or "float32",
        progress_every=asked.progress_every if asked.stream else 0,
        previews=asked.stream and asked.previews,
        **told,
    )


def _check_formats(
    service: Service, asked: GenerateRequest, model: ServedGenerator, size: tuple[int, int]
) -> None:
    """InvalidParameter for a quality of what loses nothing, and for a format or type of latents where none are."""
    if asked.output != "latent":
        codecs.check_output(asked.output, size, asked.quality)
        for name in ("format", "dtype"):
            if getattr(asked, name) is not None:
                raise InvalidParameter(
                    f"{name} is of latents: leave it out, or ask for output=latent", param=name
                )
        return
    if asked.quality is not None:
        raise InvalidParameter(
            "quality is of pictures: leave it out, or say dtype for latents", param="quality"
        )
    spec = service.registry.tokenizer(model.tokenizer).spec
    wire.check_format(spec, asked.format or "safetensors", asked.dtype or "float32", asked.num_images)


def cost_of(num_images: int, size: tuple[int, int], num_steps: int) -> int:
    """What admission counts, in pixels."""
    return math.ceil(num_images * math.prod(size) * (1 + num_steps / STEPS_PER_DECODE))


def _refusal(error: ValidationError) -> InvalidParameter:
    first = error.errors()[0]["loc"]
    message = " · ".join(line[:200] for line in explain(error, GenerateRequest).splitlines()[:5])
    return InvalidParameter(
        f'the body must be JSON like {{"label": 0, "seed": 7}} or {{"prompt": "a red fox"}}: {message}',
        param=str(first[0]) if first else None,
    )
