"""Encode, decode, reconstruct: files or numbers in, files or numbers out."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service import codecs, wire
from service.engine.messages import DecodeJob, EncodeJob, ReconstructJob
from service.errors import InvalidParameter
from service.registry import ServedTokenizer, check_padded
from service.routes.answers import (
    BYTES_HEADERS,
    PICTURE_TYPES,
    SIZE_HEADERS,
    envelope,
    error_answers,
    file_answer,
    run,
)
from service.routes.clips import (
    clip_sent,
    decode_clip,
    encode_clip,
    picture_output,
    rate_of,
    reconstruct_clip,
)
from service.routes.decoding import check_tokens, cost_of, decoding_of
from service.routes.deferred import DEFERRABLE
from service.routes.sent import described_body, described_headers, measure, told
from service.schemas import DecodeQuery, EncodeQuery, ReconstructQuery
from service.state import Service, service_of

router = APIRouter()

LATENT_TYPES = (wire.SAFETENSORS_MEDIA_TYPE, wire.NPY_MEDIA_TYPE, wire.RAW_MEDIA_TYPE, "image/png")
PSNR_HEADER = {"x-tessera-psnr": "dB on rounded uint8, or inf."}
TENSOR_HEADERS = {
    "x-tessera-shape": "Of a raw answer, outermost first.",
    "x-tessera-dtype": "Of a raw or npy answer.",
}
SCALE_HEADERS = {
    "x-tessera-scale": "Of a raw or npy answer in uint8: one number a sample and channel.",
    "x-tessera-offset": "As x-tessera-scale; z = offset + scale * code.",
}
CLIP_HEADERS = {"x-tessera-frame-rate": "Of a clip: frames per second, as 25 or 30000/1001."}
DECODE_ANSWER: dict[str, Any] = file_answer(  # OpenAPI is JSON
    (*PICTURE_TYPES, codecs.ZIP_MEDIA_TYPE, codecs.VIDEO_MEDIA_TYPE),
    SIZE_HEADERS | TENSOR_HEADERS | CLIP_HEADERS,
)
DECODE_ANSWER["content"] = DECODE_ANSWER["content"] | {
    "application/json": {"schema": {"$ref": "#/components/schemas/PicturesAnswer"}}
}
PIXELS_SENT = described_headers(shape="The body is raw uint8 pixels of this shape.")
LATENT_SENT = described_headers(
    size="With npy and raw: pixel size, height,width.",
    spec="With npy and raw: identity of the latent space.",
    shape="The body is a raw tensor of this shape.",
    dtype="Its elements; of npy, bfloat16 sent by its bits as uint16.",
    scale="Of a quantised latent.",
    offset="Of a quantised latent.",
)


@router.post(
    "/v1/encode",
    response_class=Response,
    responses={
        200: file_answer(
            LATENT_TYPES, SIZE_HEADERS | BYTES_HEADERS | TENSOR_HEADERS | SCALE_HEADERS | CLIP_HEADERS
        ),
        **DEFERRABLE,
        **error_answers(400, 404, 408, 413, 415, 422, 507),
    },
    openapi_extra=described_body("image", several=True) | {"parameters": PIXELS_SENT},
)
async def encode(request: Request, query: Annotated[EncodeQuery, Query()]) -> Response:
    """Pictures of one size, or a video -> latents or, of a discrete tokenizer, indices, or a picture of one."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    _check_asked(query, model)
    async with service.bodies.read_files(request, max_files=service.settings.max_images) as files:
        if clip_sent(files, model):
            return await encode_clip(service, request, query, model, files[0])
        headers = told(request, query, "shape")
        sent = await asyncio.to_thread(measure, files, headers, model, service.settings)
        if query.format == "png" and sent.count > 1:
            raise InvalidParameter("format=png shows one latent: send one picture", param="format")
        wire.check_format(model.spec, query.format, query.dtype or "float32", sent.count)
        job = EncodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=sent.cost,
            submitted_at=time.monotonic(),
            body=sent.body,
            format=query.format,
            view=query.view,
            what=query.what,
            dtype=query.dtype or "float32",
            num_tokens=query.num_tokens,
            **envelope(request, service),
        )
        return await run(service, request, job)


@router.post(
    "/v1/reconstruct",
    response_class=Response,
    responses={
        200: file_answer(
            (*PICTURE_TYPES, codecs.VIDEO_MEDIA_TYPE),
            SIZE_HEADERS | BYTES_HEADERS | PSNR_HEADER | TENSOR_HEADERS | CLIP_HEADERS,
        ),
        **DEFERRABLE,
        **error_answers(400, 404, 408, 413, 415, 422, 507),
    },
    openapi_extra=described_body("image", several=False) | {"parameters": PIXELS_SENT},
)
async def reconstruct(request: Request, query: Annotated[ReconstructQuery, Query()]) -> Response:
    """A picture or a video -> what encoding and decoding leave of it, with the PSNR in a header."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    decoding = decoding_of(query, model, service.settings.max_steps)
    async with service.bodies.read_files(request, max_files=1) as files:
        if clip_sent(files, model):
            return await reconstruct_clip(service, request, query, model, files[0])
        headers, output = told(request, query, "shape"), picture_output(query.output)
        sent = await asyncio.to_thread(measure, files, headers, model, service.settings)
        wire.refuse_count(sent.count, 1, "pictures")
        codecs.check_output(output, sent.size, query.quality)
        job = ReconstructJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=sent.cost + cost_of(sent.cost, decoding, model.spec),
            submitted_at=time.monotonic(),
            body=sent.body,
            output=output,
            quality=query.quality,
            decoding=decoding,
            **envelope(request, service),
        )
        return await run(service, request, job)


@router.post(
    "/v1/decode",
    response_class=Response,
    responses={200: DECODE_ANSWER, **DEFERRABLE, **error_answers(400, 404, 408, 413, 422, 507)},
    openapi_extra=described_body("latent", several=False) | {"parameters": LATENT_SENT},
)
async def decode(request: Request, query: Annotated[DecodeQuery, Query()]) -> Response:
    """Latents or indices as /v1/encode gave them -> picture or video; several as JSON, one array, or a zip archive."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    decoding = decoding_of(query, model, service.settings.max_steps)
    async with service.bodies.read_files(request, max_files=1, field="latent") as files:
        headers = told(request, query, "size", "spec", "shape", "dtype", "scale", "offset")
        latent = await asyncio.to_thread(_check_latent, service, model, files[0], headers)
        if len(latent.size) == 3:
            rate = await asyncio.to_thread(rate_of, files[0], query.frame_rate)
            return await decode_clip(service, request, query, model, latent, rate)
        size, output = latent.picture_size, picture_output(query.output)
        wire.refuse_tokens(latent, decoding.num_tokens, model.spec)
        codecs.check_output(output, size, query.quality)
        pixels = latent.batch * check_padded(model.spec, size, service.settings.max_pixels)
        job = DecodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=cost_of(pixels, decoding, model.spec),
            submitted_at=time.monotonic(),
            parts=latent.parts,
            indices=latent.indices,
            size=size,
            output=output,
            quality=query.quality,
            bundle=query.bundle,
            decoding=decoding,
            **envelope(request, service),
        )
        return await run(service, request, job)


def _check_asked(query: EncodeQuery, model: ServedTokenizer) -> None:
    """Refuse what this tokenizer cannot give before the body is read."""
    if query.what == "indices":
        wire.coded_part(model.spec)
    if query.dtype is not None and (query.what == "indices" or query.format == "png"):
        raise InvalidParameter(
            "dtype is of latents, indices are uint16 or uint32 and pictures uint8: leave it out",
            param="dtype",
        )
    check_tokens(query.num_tokens, model.spec)
    wire.check_format(model.spec, query.format, query.dtype or "float32", 1)


def _check_latent(
    service: Service, model: ServedTokenizer, body: bytes, headers: dict[str, str]
) -> wire.CheckedLatent:
    return wire.check(
        wire.read_latent(body, headers),
        model.spec,
        model.spec_id,
        max_pixels=service.settings.max_pixels,
        max_batch=service.settings.max_images,
        max_clip_pixels=service.settings.max_video_pixels,
    )
