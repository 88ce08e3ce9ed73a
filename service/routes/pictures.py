"""Encode, decode, reconstruct: one file in, one file out."""

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
    FILE_BODY,
    PICTURE_TYPES,
    SIZE_HEADERS,
    error_answers,
    file_answer,
    run,
)
from service.schemas import EncodeQuery, PictureQuery
from service.state import Service, service_of

router = APIRouter()

LATENT_TYPES = (wire.SAFETENSORS_MEDIA_TYPE, codecs.MEDIA_TYPES["npy"], codecs.MEDIA_TYPES["png"])
PSNR_HEADER = {"x-tessera-psnr": "dB on rounded uint8, or inf."}
DECODE_ANSWER: dict[str, Any] = file_answer(PICTURE_TYPES, SIZE_HEADERS)  # OpenAPI is JSON
DECODE_ANSWER["content"] = DECODE_ANSWER["content"] | {
    "application/json": {"schema": {"$ref": "#/components/schemas/PicturesAnswer"}}
}
NPY_HEADERS = [
    {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
    for name, text in (
        ("x-tessera-size", "With npy: pixel size, height,width."),
        ("x-tessera-spec", "With npy: identity of the latent space."),
    )
]


@router.post(
    "/v1/encode",
    response_class=Response,
    responses={
        200: file_answer(LATENT_TYPES, SIZE_HEADERS | BYTES_HEADERS),
        **error_answers(400, 404, 408, 413, 415, 422, 507),
    },
    openapi_extra=FILE_BODY,
)
async def encode(request: Request, query: Annotated[EncodeQuery, Query()]) -> Response:
    """A picture -> its latent or, of a discrete tokenizer, its indices: safetensors, npy, or a picture of them."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    if query.what == "indices":
        wire.coded_part(model.spec)
    if query.format == "npy" and [part.name for part in model.spec.parts] != ["z"]:
        raise InvalidParameter(
            "this tokenizer's latent has several parts: ask for format=safetensors", param="format"
        )
    async with service.bodies.read(request) as body:
        cost, _ = await asyncio.to_thread(_measure, service, model, body)
        job = EncodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=cost,
            submitted_at=time.monotonic(),
            body=body,
            format=query.format,
            view=query.view,
            what=query.what,
        )
        return await run(service, request, job)


@router.post(
    "/v1/reconstruct",
    response_class=Response,
    responses={
        200: file_answer(PICTURE_TYPES, SIZE_HEADERS | BYTES_HEADERS | PSNR_HEADER),
        **error_answers(400, 404, 408, 413, 415, 422, 507),
    },
    openapi_extra=FILE_BODY,
)
async def reconstruct(request: Request, query: Annotated[PictureQuery, Query()]) -> Response:
    """A picture -> what encoding and decoding leave of it, with the PSNR in a header."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    async with service.bodies.read(request) as body:
        cost, size = await asyncio.to_thread(_measure, service, model, body)
        codecs.check_output(query.output, size)
        job = ReconstructJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=2 * cost,
            submitted_at=time.monotonic(),
            body=body,
            output=query.output,
        )
        return await run(service, request, job)


@router.post(
    "/v1/decode",
    response_class=Response,
    responses={200: DECODE_ANSWER, **error_answers(400, 404, 408, 413, 422, 507)},
    openapi_extra=FILE_BODY | {"parameters": NPY_HEADERS},
)
async def decode(request: Request, query: Annotated[PictureQuery, Query()]) -> Response:
    """A latent or indices, safetensors or npy as /v1/encode gave them -> the picture; several samples as JSON."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    async with service.bodies.read(request) as body:
        latent = await asyncio.to_thread(_check_latent, service, model, body, dict(request.headers))
        codecs.check_output(query.output, latent.size)
        job = DecodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=latent.batch * check_padded(model.spec, latent.size, service.settings.max_pixels),
            submitted_at=time.monotonic(),
            parts=latent.parts,
            indices=latent.indices,
            size=latent.size,
            output=query.output,
        )
        return await run(service, request, job)


def _measure(service: Service, model: ServedTokenizer, body: bytes) -> tuple[int, tuple[int, int]]:
    """(cost, size) of a picture from its header alone."""
    header = codecs.inspect(body, service.settings.max_pixels)
    return check_padded(model.spec, header.size, service.settings.max_pixels), header.size


def _check_latent(
    service: Service, model: ServedTokenizer, body: bytes, headers: dict[str, str]
) -> wire.CheckedLatent:
    return wire.check(
        wire.read_latent(body, headers),
        model.spec,
        model.spec_id,
        max_pixels=service.settings.max_pixels,
        max_batch=service.settings.max_images,
    )
