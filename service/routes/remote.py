"""The protocol of diffusers' ``remote_decode`` and ``remote_encode``, for any tokenizer of the registry.

The clients need no change: ``remote_decode("http://HOST/v1/remote/decode?model=NAME", latent, ...)``. Bodies are the
elements of a tensor alone; its shape and dtype stand in the query, and in headers of the answer.

Letters: B batch, C latent channels, h w latent positions, H W pixels.

Source: huggingface/diffusers, utils/remote_utils.py (requests and what is read of answers), FluxPipeline (packing).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from service import codecs, wire
from service.engine.messages import Convention, DecodeJob, EncodeJob
from service.errors import InvalidParameter, NotFinite, TooManyPixels, WrongShape
from service.registry import ServedTokenizer, check_padded
from service.routes.answers import BINARY, SIZE_HEADERS, envelope, error_answers, file_answer, run
from service.routes.sent import SentPictures, measure
from service.schemas import RemoteDecodeQuery, RemoteQuery
from service.state import Service, service_of

if TYPE_CHECKING:
    from service.engine.messages import TensorAnswer
    from tokenizer.spec import LatentSpec

router = APIRouter()

TENSOR_MEDIA_TYPE = "tensor/binary"
TENSOR_HEADERS = {
    "shape": "Of a tensor, a JSON list.",
    "dtype": "Of a tensor.",
    "x-tessera-left-out": "Pictures beyond the first, where the answer has room for one.",
}
TENSOR_BODY: dict[str, Any] = {  # OpenAPI is JSON
    "requestBody": {
        "required": True,
        "content": {TENSOR_MEDIA_TYPE: BINARY, "application/octet-stream": BINARY},
    }
}
# Pixels are [0, 1] or [-1, 1]; what lies further out than resampling overshoots is something else.
MAX_PIXEL = 2.0


@dataclass(frozen=True, slots=True)
class RemoteLatent:
    """A latent of these clients: z (B, C, ...) float32 in their convention, and the pixels it decodes to."""

    z: wire.Array
    size: tuple[int, int]


@router.post(
    "/v1/remote/decode",
    response_class=Response,
    responses={
        200: file_answer((TENSOR_MEDIA_TYPE, "image/jpeg", "image/png"), SIZE_HEADERS | TENSOR_HEADERS),
        **error_answers(400, 404, 408, 413, 422, 507),
    },
    openapi_extra=TENSOR_BODY,
)
async def decode(request: Request, query: Annotated[RemoteDecodeQuery, Query()]) -> Response:
    """A raw tensor of latents -> a picture or a tensor of pictures, for diffusers' `remote_decode`."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    if query.output_type == "mp4":
        raise InvalidParameter(
            f"tokenizer {model.name!r} makes pictures, not video: ask for output_type=pil or output_type=pt",
            param="output_type",
        )
    tensor = _tensor_answer(query, request.headers.get("accept", ""))
    async with service.bodies.read(request) as body:
        latent = await asyncio.to_thread(_read_latent, service, model, body, query)
        batch = latent.z.shape[0]
        z = latent.z if tensor else latent.z[:1]  # a file holds one picture
        job = DecodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=z.shape[0] * check_padded(model.spec, latent.size, service.settings.max_pixels),
            submitted_at=time.monotonic(),
            parts={model.spec.z.name: z},
            size=latent.size,
            output="png" if query.image_format == "png" else "jpeg",
            convention=_convention(query, own=query.do_scaling and query.scaling_factor is None),
            tensor=tensor,
            **envelope(request, service),
        )
        response = await run(service, request, job)
    if batch > z.shape[0]:
        response.headers["x-tessera-left-out"] = str(batch - z.shape[0])
    return response


@router.post(
    "/v1/remote/encode",
    response_class=Response,
    responses={
        200: file_answer((TENSOR_MEDIA_TYPE,), SIZE_HEADERS | TENSOR_HEADERS),
        **error_answers(400, 404, 408, 413, 415, 422, 507),
    },
    openapi_extra=TENSOR_BODY,
)
async def encode(request: Request, query: Annotated[RemoteQuery, Query()]) -> Response:
    """A picture, or a raw tensor (B, 3, H, W) of them -> a raw tensor of latents, for diffusers' `remote_encode`."""
    service = service_of(request)
    service.engine.require_ready()
    model = service.registry.tokenizer(query.model)
    _require_one_part(model.spec)
    if (query.shape is None) != (query.dtype is None):
        raise InvalidParameter(
            "shape and dtype come together: send both, or neither with a picture file", param="shape"
        )
    async with service.bodies.read(request) as body:
        if query.shape is None:
            sent = await asyncio.to_thread(measure, [body], {}, model, service.settings)
        else:
            sent = await asyncio.to_thread(_read_pixels, service, model, body, query)
        job = EncodeJob(
            id=service.engine.next_id(),
            model=model.name,
            cost=sent.cost,
            submitted_at=time.monotonic(),
            body=sent.body,
            format="raw",
            view="rgb",
            convention=_convention(query, own=False),
            **envelope(request, service),
        )
        return await run(service, request, job)


def _convention(query: RemoteQuery, *, own: bool) -> Convention:
    return Convention(own=True) if own else Convention(query.scaling_factor, query.shift_factor)


def _tensor_answer(query: RemoteDecodeQuery, accept: str) -> TensorAnswer | None:
    """What the client will read; None for a picture file."""
    if query.output_type == "pt":
        return "uint8" if query.partial_postprocess else "x_hat"
    return "unit" if TENSOR_MEDIA_TYPE in accept.lower() else None


def _require_one_part(spec: LatentSpec) -> None:
    if len(spec.parts) != 1:
        raise InvalidParameter(
            "this tokenizer's latent has several parts, which these clients cannot send: use /v1/encode and "
            "/v1/decode, or another model",
            param="model",
        )


def _read_latent(
    service: Service, model: ServedTokenizer, body: bytes, query: RemoteDecodeQuery
) -> RemoteLatent:
    """Measure, then read: nothing is allocated for a tensor that does not fit.

    Raises:
        InvalidParameter, WrongShape, TooManyPixels, NotATensor, NotFinite.
    """
    spec, settings = model.spec, service.settings
    _require_one_part(spec)
    if query.shape is None or query.dtype is None:
        raise InvalidParameter("shape and dtype of the latent stand in the query: send both", param="shape")
    shape = tuple(query.shape)
    given = None if query.height is None or query.width is None else (query.height, query.width)
    if 0 in shape:
        raise WrongShape(f"the latent's shape {list(shape)} holds nothing: send at least one", param="shape")
    stored = wire.read_raw(body, shape, query.dtype)
    packed = _is_packed(shape, given, spec)
    size = _size_of(shape, given, spec, packed=packed)
    batch = shape[0] if packed or len(shape) > len(spec.z.shape(size)) else 1
    wire.refuse_count(batch, settings.max_images, "shape")
    wire.refuse_pixels(batch, size, check_padded(spec, size, settings.max_pixels), settings.max_pixels)
    if packed:
        stored = _unpacked(stored, *size, spec.z.spatial_factor)
    wanted = spec.shape(size)[spec.z.name]
    if spec.z.fits(stored.shape, wanted):
        stored = stored[None]
    if not spec.z.fits(stored.shape[1:], wanted):
        raise WrongShape(
            f"a latent of shape {list(shape)} does not belong to pictures of {size[0]},{size[1]}, which have "
            f"{[batch, *wanted]}: send it as this tokenizer made it, and height and width of the picture with it",
            param="shape",
            details={"expected": [batch, *wanted]},
        )
    return RemoteLatent(wire.finite(wire.Stored(wire.to_float32(stored, query.dtype)), "shape"), size)


def _is_packed(shape: tuple[int, ...], given: tuple[int, int] | None, spec: LatentSpec) -> bool:
    """Whether (B, h w / 4, 4 C): three axes that are neither one sample (C, h, w) nor rows of tokens."""
    if len(shape) != 3 or spec.z.layout != "2d":
        return False
    if given is None:
        raise WrongShape(
            f"a latent of shape {list(shape)} has three axes: send height and width of the picture with it",
            param="height",
        )
    floored = tuple(side // spec.z.spatial_factor for side in given)
    alone = shape == spec.shape(given)[spec.z.name] or shape == (spec.z.channels, *floored)
    return not alone and shape[2] == 4 * spec.z.channels


def _size_of(
    shape: tuple[int, ...], given: tuple[int, int] | None, spec: LatentSpec, *, packed: bool
) -> tuple[int, int]:
    """Pixels: as told, or all that the latent's positions cover; packed latents come in squares of two by two."""
    factor = spec.z.spatial_factor
    if packed and given is not None:
        height, width = (2 * (side // (2 * factor)) * factor for side in given)
        if not height or not width or shape[1] != height * width // (4 * factor * factor):
            raise WrongShape(
                f"{shape[1]} packed positions do not make a picture of {given[0]},{given[1]}: send the height and "
                "width that the latent was packed for",
                param="shape",
            )
        return height, width
    if given is not None:  # pipelines drop what does not divide, our tokenizers pad it
        height, width = (side // factor for side in given)
        floored = spec.z.layout != "1d" and shape[-2:] == (height, width)
        return (height * factor, width * factor) if floored else given
    if len(shape) < 3 or spec.z.layout == "1d":
        raise WrongShape(
            f"the size of the picture does not follow from a latent of shape {list(shape)}: send height and width",
            param="height",
        )
    return shape[-2] * factor, shape[-1] * factor


def _unpacked(stored: np.ndarray[Any, Any], height: int, width: int, factor: int) -> np.ndarray[Any, Any]:
    """(B, h w / 4, 4 C) -> (B, C, h, w): every position held a square of two by two."""
    batch, _, wide = stored.shape
    rows, columns = height // factor // 2, width // factor // 2
    squares = stored.reshape(batch, rows, columns, wide // 4, 2, 2).transpose(0, 3, 1, 4, 2, 5)
    return squares.reshape(batch, wide // 4, 2 * rows, 2 * columns)


def _read_pixels(service: Service, model: ServedTokenizer, body: bytes, query: RemoteQuery) -> SentPictures:
    """(B, 3, H, W) or (3, H, W): uint8, or floats in [0, 1], or in [-1, 1] if one is below zero.

    Source: diffusers' VaeImageProcessor.preprocess, for the range.

    Raises:
        WrongShape, TooManyPixels, NotATensor, NotFinite.
    """
    settings, shape, dtype = service.settings, tuple(query.shape or ()), query.dtype or ""
    whole = shape if len(shape) == 4 else (1, *shape)
    if len(whole) != 4 or whole[1] != 3 or 0 in whole:
        raise WrongShape(
            f"pixels of shape {list(shape)}: send (pictures, 3, height, width), or (3, height, width)",
            param="shape",
        )
    wire.refuse_count(whole[0], settings.max_images, "shape")
    size = (whole[2], whole[3])
    cost = whole[0] * check_padded(model.spec, size, settings.max_pixels)
    if cost > settings.max_pixels:
        raise TooManyPixels(
            f"{whole[0]} pictures of {size[1]}x{size[0]} are more than the {settings.max_pixels} pixels that this "
            "server takes in one request: send fewer at once",
            param="shape",
            details={"max_pixels": settings.max_pixels},
        )
    stored = wire.read_raw(body, whole, dtype)
    if dtype == "uint8":
        pixels: codecs.Pixels = np.ascontiguousarray(stored.transpose(0, 2, 3, 1))
        return SentPictures(pixels, whole[0], size, cost)
    values = wire.to_float32(stored, dtype)
    low, high = float(values.min()), float(values.max())
    if not (low >= -MAX_PIXEL and high <= MAX_PIXEL):  # NaN compares false
        raise NotFinite(
            f"pixels go from {low:g} to {high:g}: send floats in [0, 1] or [-1, 1], or uint8", param="dtype"
        )
    x: wire.Array = values if low < 0 else 2 * values - 1
    return SentPictures(x, whole[0], size, cost)
