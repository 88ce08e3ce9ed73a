"""OpenAI's images interface: generations, and edits as image-to-image, whole or as a stream of partial images."""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service import codecs
from service.bodies import MAX_JSON_BYTES
from service.engine.messages import GenerateJob, PipelineJob
from service.errors import BadForm, InvalidParameter, WrongSize
from service.openai.answers import Kind, completed_events, images_answer, partial_event, size_text
from service.openai.errors import error_body
from service.openai.schemas import EditsRequest, ImagesRequest
from service.routes.answers import BINARY, Envelope, envelope, error_answers, outlives_client, run
from service.routes.generate import cost_of, generate_job
from service.routes.streams import admitted, error_told
from service.schemas import GenerateRequest
from service.sse import Events, EventStream
from service.state import Service, service_of
from tokenizer.core.config import Config, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.engine.messages import Progress
    from service.registry import ServedGenerator

M = TypeVar("M", bound=Config)

router = APIRouter(prefix="/v1/images")

INDEX = re.compile(r"[0-9]{1,9}")
# image, mask and every field that there is, with some to spare
MAX_PARTS = 64
ANSWER: dict[str, Any] = {  # OpenAPI is JSON
    "description": "The pictures; with stream, the events partial_image and completed.",
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/ImagesAnswer"}},
        "text/event-stream": {"schema": {"type": "string"}},
    },
}
FIELDS = EditsRequest.model_json_schema()
EDITS_FORM: dict[
    str, Any
] = {  # OpenAPI is JSON; a closed schema takes no further properties, so it is spelt out
    "type": "object",
    "required": ["image", *FIELDS["required"]],
    "properties": {"image": BINARY["schema"], "mask": BINARY["schema"], **FIELDS["properties"]},
}
ERRORS = error_answers(400, 404, 408, 413, 507)


@dataclass(frozen=True, slots=True)
class Given:
    """The files of an edit."""

    image: bytes
    mask: bytes | None


@router.post(
    "/generations",
    response_class=Response,
    responses={200: ANSWER, **ERRORS},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ImagesRequest"}}},
        }
    },
)
async def generations(request: Request) -> Response:
    """A class or a text -> pictures, as OpenAI's clients ask for them."""
    service = service_of(request)
    service.engine.require_ready()
    async with service.bodies.read(request, max_bytes=MAX_JSON_BYTES) as body:
        asked = _checked(ImagesRequest, body)
    job = image_job(service, asked, envelope(request, service))
    if asked.stream:
        return await _stream(service, request, job, asked, "image_generation")
    return await _whole(service, request, job, asked)


@router.post(
    "/edits",
    response_class=Response,
    responses={200: ANSWER, **ERRORS},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": EDITS_FORM,
                    "example": {"prompt": "dress", "strength": "0.5"},
                }
            },
        }
    },
)
async def edits(request: Request) -> Response:
    """A picture, a class or a text, and a strength -> the picture made anew, whole or where the mask is transparent."""
    service = service_of(request)
    service.engine.require_ready()
    async with AsyncExitStack() as stack:
        form = await stack.enter_async_context(service.bodies.read_form(request, max_parts=MAX_PARTS))
        given, fields = files_of(form)
        asked = _checked(EditsRequest, fields)
        await asyncio.to_thread(_check_files, given, service.settings.max_pixels)
        job = edit_job(service, asked, envelope(request, service), given)
        if asked.stream:
            answer = await _stream(service, request, job, asked, "image_edit")
            answer.at_end(stack.pop_all().aclose)  # the files count until then
            return answer
        return await _whole(service, request, job, asked)


def image_job(service: Service, asked: ImagesRequest, told: Envelope) -> GenerateJob:
    """What a request means to the engine.

    Raises:
        UnknownModel, UnknownLabel, WrongSize, InvalidParameter.
    """
    asked.refuse_what_is_not_served()
    model = service.registry.generator(asked.model)
    tree: dict[str, object] = {
        "model": model.name,
        "num_images": asked.n or 1,
        "num_steps": asked.num_steps,
        "guidance": asked.guidance,
        "seed": asked.seed,
        "size": _size(model, asked),
        "output": asked.output_format or "png",
        "quality": asked.output_compression,
    }
    if asked.negative_prompt is not None:
        tree["negative_prompt"] = asked.negative_prompt
    if model.class_names:
        tree["label"] = int(asked.prompt) if INDEX.fullmatch(asked.prompt) else asked.prompt
    else:
        tree["prompt"] = asked.prompt
    job = generate_job(service, _checked(GenerateRequest, tree), told)
    return _with_previews(job, asked, job.num_steps)


def edit_job(service: Service, asked: EditsRequest, told: Envelope, given: Given) -> GenerateJob:
    """As ``image_job``, from a picture.

    Raises:
        InvalidParameter: the model starts from noise only, and what ``image_job`` raises.
    """
    job = image_job(service, asked, told)
    if isinstance(job, PipelineJob):
        able = [name for name, model in service.registry.generators.items() if model.pipeline is None]
        known = " and ".join(able) or "none"
        raise InvalidParameter(
            f"model {job.model!r} makes pictures from noise only; of those served, {known} can edit",
            param="model",
        )
    steps = math.ceil(asked.strength * job.num_steps)
    # the picture through the encoder, and where it is kept through the decoder
    passes = 1 if given.mask is None else 2
    cost = cost_of(job.num_images, job.size, steps) + passes * math.prod(job.size)
    job = replace(job, init=given.image, mask=given.mask, strength=asked.strength, cost=cost)
    return _with_previews(job, asked, steps)


def files_of(form: dict[str, list[bytes]]) -> tuple[Given, dict[str, str]]:
    """The files of an edit, and its other fields as text; empty ones count as left out.

    Raises:
        BadForm: a field twice, or not text. InvalidParameter: no picture, or several.
    """
    images = form.pop("image", []) + form.pop("image[]", [])
    masks = form.pop("mask", [])
    if len(images) != 1:
        raise InvalidParameter(
            f"the form has {len(images)} fields `image`: send one picture to edit", param="image"
        )
    fields: dict[str, str] = {}
    for name, values in {**form, "mask": masks}.items():
        if len(values) > 1:
            raise BadForm(
                f"the form has the field {name[:64]!r} {len(values)} times: send it once", param=name[:64]
            )
    for name, (value,) in form.items():
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise BadForm(f"the field {name[:64]!r} is not text in UTF-8", param=name[:64]) from None
        if text:
            fields[name] = text
    return Given(images[0], masks[0] if masks and masks[0] else None), fields


def _check_files(given: Given, max_pixels: int) -> None:
    """The headers alone; InvalidParameter if the mask is of another size."""
    size = codecs.inspect(given.image, max_pixels).size
    if given.mask is None:
        return
    mask = codecs.inspect(given.mask, max_pixels).size
    if mask != size:
        raise InvalidParameter(
            f"the mask is {size_text(mask)} and the image {size_text(size)}: send a mask of the image's size",
            param="mask",
        )


def _size(model: ServedGenerator, asked: ImagesRequest) -> tuple[int, int]:
    try:
        return model.size(asked.pixels)
    except WrongSize as error:
        known = "auto, " + ", ".join(size_text(size) for size in model.sizes)
        if model.size_multiple is not None:
            known += f", or sides that are multiples of {model.size_multiple}"
        raise WrongSize(
            f"model {model.name!r} cannot make {asked.size}: ask for {known}",
            param="size",
            details=error.details,
        ) from None


def _with_previews(job: GenerateJob, asked: ImagesRequest, steps: int) -> GenerateJob:
    wanted = asked.partial_images or 0
    if not wanted:
        return job
    return replace(job, previews=True, progress_every=max(1, steps // (wanted + 1)))


def _checked(schema: type[M], body: bytes | Mapping[str, object]) -> M:
    try:
        return schema.model_validate_json(body) if isinstance(body, bytes) else schema.model_validate(body)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        message = " · ".join(line[:200] for line in explain(error, schema).splitlines()[:5])
        raise InvalidParameter(message, param=str(place[0]) if place else None) from None


async def _whole(service: Service, request: Request, job: GenerateJob, asked: ImagesRequest) -> Response:
    answer = await run(service, request, job)
    if answer.status_code != 200:
        return answer
    body = await asyncio.to_thread(images_answer, asked, job, bytes(answer.body), answer.media_type)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("content-length", "content-type")
    }
    return Response(body, headers=headers, media_type="application/json")


async def _stream(
    service: Service, request: Request, job: GenerateJob, asked: ImagesRequest, kind: Kind
) -> EventStream:
    events = Events()
    partials = Partials(events, partial(partial_event, kind, asked, job), asked.partial_images or 0)
    work = await admitted(service, job, partials.see)

    async def finish() -> None:
        answer = await work
        await partials.told()
        events.put(
            await asyncio.to_thread(completed_events, kind, asked, job, answer.body, answer.media_type)
        )

    return EventStream(
        events,
        finish,
        on_error=partial(error_told, request, body_of=error_body),
        outlive_client=outlives_client(request),
        headers={"x-tessera-seed": str(job.seed)},
    )


class Partials:
    """Turns the first previews of a job into events, in order and off the event loop.

    Args:
        events: where they go.
        write: a preview and its index -> its event; slow.
        count: most of them.
    """

    def __init__(self, events: Events, write: Callable[[bytes, int], bytes], count: int) -> None:
        self._events = events
        self._write = write
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []

    def see(self, progress: Progress) -> None:
        """Take a preview, unless there were enough or the picture is finished."""
        index = len(self._tasks)
        if progress.preview is None or index >= self._count or progress.step >= progress.num_steps:
            return
        before = self._tasks[-1] if self._tasks else None
        self._tasks.append(asyncio.create_task(self._tell(before, progress.preview, index)))

    async def told(self) -> None:
        """Wait until all that were taken are on their way."""
        await asyncio.gather(*self._tasks)

    async def _tell(self, before: asyncio.Task[None] | None, preview: bytes, index: int) -> None:
        chunk = await asyncio.to_thread(self._write, preview, index)
        if before is not None:
            await before
        self._events.offer(chunk)
