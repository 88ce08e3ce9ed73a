"""The tokenizer's own interface over HTTP: pixels as float32 tensors in, latents out, and back, nothing rounded.

``tokenizer=http://host:port#model`` of the command line speaks it (``tokenizer/adapters/remote``), evaluations too.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service import wire
from service.engine.messages import DecodeJob, EncodeJob
from service.errors import WrongDtype, WrongShape
from service.registry import check_padded
from service.routes.answers import BINARY, SIZE_HEADERS, envelope, error_answers, file_answer, run
from service.routes.decoding import check_tokens, cost_of, decoding_of
from service.schemas import DecodingQuery, TensorEncodeQuery
from service.state import Service, service_of
from service.wire.safetensors import read_stored

if TYPE_CHECKING:
    from service.registry import ServedTokenizer
    from service.wire import Array

router = APIRouter()

PIXELS = "x"
SEND = "send safetensors with the one tensor x, float32 (B, 3, H, W) in [-1, 1]"
BODY: dict[str, Any] = {  # OpenAPI is JSON
    "requestBody": {"required": True, "content": {wire.SAFETENSORS_MEDIA_TYPE: BINARY}}
}
RAW_HEADERS = {"shape": "Of the tensor, as a JSON list.", "dtype": "float32, float16 or bfloat16."}


@router.post(
    "/v1/tensors/encode",
    response_class=Response,
    responses={
        200: file_answer((wire.SAFETENSORS_MEDIA_TYPE,), SIZE_HEADERS),
        **error_answers(400, 404, 408, 413, 422, 507),
    },
    openapi_extra=BODY,
)
async def encode(request: Request, query: Annotated[TensorEncodeQuery, Query()]) -> Response:
    """safetensors with `x` float32 (B, 3, H, W) in [-1, 1] -> safetensors with the normalised latents, float32."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    num_tokens = check_tokens(query.num_tokens, model.spec)
    async with service.bodies.read(request) as body:
        x, cost = await asyncio.to_thread(_pixels, service, model, body)
        job = EncodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=cost,
            submitted_at=time.monotonic(),
            body=x,
            format="safetensors",
            view="rgb",
            num_tokens=num_tokens,
            **envelope(request, service),
        )
        return await run(service, request, job)


@router.post(
    "/v1/tensors/decode",
    response_class=Response,
    responses={
        200: file_answer((wire.RAW_MEDIA_TYPE,), SIZE_HEADERS | RAW_HEADERS),
        **error_answers(400, 404, 408, 413, 422, 507),
    },
    openapi_extra=BODY,
)
async def decode(request: Request, query: Annotated[DecodingQuery, Query()]) -> Response:
    """Latents or indices as /v1/tensors/encode or /v1/encode gave them -> x_hat (B, 3, H, W), the raw elements."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    decoding = decoding_of(query, model, service.settings.max_steps)
    async with service.bodies.read(request) as body:
        latent = await asyncio.to_thread(_latent, service, model, body, dict(request.headers))
        wire.refuse_tokens(latent, decoding.num_tokens, model.spec)
        pixels = latent.batch * check_padded(model.spec, latent.picture_size, service.settings.max_pixels)
        job = DecodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=cost_of(pixels, decoding, model.spec),
            submitted_at=time.monotonic(),
            parts=latent.parts,
            indices=latent.indices,
            size=latent.picture_size,
            output="png",  # not read: a tensor is asked for
            tensor="x_hat",
            decoding=decoding,
            **envelope(request, service),
        )
        return await run(service, request, job)


def _pixels(service: Service, model: ServedTokenizer, body: bytes) -> tuple[Array, int]:
    """(x, its cost).

    Raises:
        NotATensor, WrongDtype, WrongShape, TooManyPixels, NotFinite.
    """
    tensors, _ = read_stored(body)
    if set(tensors) != {PIXELS}:
        names = ", ".join(sorted(name[:64] for name in tensors))
        raise WrongShape(f"the file holds {names}: {SEND}", param=PIXELS)
    stored = tensors[PIXELS]
    if stored.dtype != "float32":
        raise WrongDtype(f"tensor x is {stored.dtype}: {SEND}", param=PIXELS)
    shape = stored.array.shape
    if len(shape) != 4 or shape[1] != 3 or not all(shape):
        raise WrongShape(f"tensor x is {list(shape)}: {SEND}", param=PIXELS)
    settings, size = service.settings, (shape[2], shape[3])
    wire.refuse_count(shape[0], settings.max_images, PIXELS)
    pixels = check_padded(model.spec, size, settings.max_pixels)
    wire.refuse_pixels(shape[0], size, pixels, settings.max_pixels)
    return wire.finite(stored, PIXELS), shape[0] * pixels


def _latent(
    service: Service, model: ServedTokenizer, body: bytes, headers: dict[str, str]
) -> wire.CheckedLatent:
    settings = service.settings
    return wire.check(
        wire.read_latent(body, headers),
        model.spec,
        model.spec_id,
        max_pixels=settings.max_pixels,
        max_batch=settings.max_images,
    )
