"""From a job to an HTTP answer, and how answers are described in the OpenAPI document."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

from fastapi import Request, Response

from service.access import record_of
from service.codecs import MEDIA_TYPES
from service.engine.messages import Priority
from service.errors import InvalidParameter
from service.jobs.replay import mark_of
from service.routes.deferred import deferred
from service.schemas import ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.messages import Answer, Job, Progress
    from service.state import Service

BINARY = {"schema": {"type": "string", "format": "binary"}}
SIZE_HEADERS = {
    "x-tessera-size": "Pixel size, height,width.",
    "x-tessera-spec": "Identity of the latent space.",
    "x-batch-size": "Requests that shared the network pass.",
    "x-batch-bucket": "Rows of the pass, padding counted; the same request pinned to it gives the same bytes.",
    "server-timing": "Milliseconds by stage: queue, before, core, after.",
}
BYTES_HEADERS = {
    "x-tessera-source-bytes": "Bytes of the file that was sent.",
    "x-tessera-pixel-bytes": "Bytes of the raw pixels.",
    "x-tessera-latent-bytes": "Bytes of the latent at its rate, 16 bits a value or log2 of the codes.",
}


class Envelope(TypedDict):
    """What every job takes from the headers of its request; see ``messages.Job``."""

    request_id: str
    priority: Priority
    deadline: float | None
    bucket: int | None
    decode_bucket: int | None


class ClientGone(Exception):  # noqa: N818  nothing went wrong here
    """The client closed the connection; nobody reads an answer."""


def envelope(request: Request, service: Service) -> Envelope:
    """Id, priority, deadline and pinned bucket of a request, from its headers; keyword arguments of its jobs.

    Raises:
        InvalidParameter: naming the header.
        NotAllowed: the key may not ask for that priority.
    """
    timeout_ms = _whole_number(request, "x-timeout-ms", int(1000 * service.settings.request_timeout_s))
    bucket, decode_bucket = _buckets(request, service.settings.max_batch)
    priority = request.headers.get("x-priority")
    if priority is not None and priority not in get_args(Priority):
        raise InvalidParameter(
            f"x-priority is {priority[:64]!r}: send {' or '.join(get_args(Priority))}", param="x-priority"
        )
    return Envelope(
        request_id=request_id_of(request),
        priority=record_of(request).caller.allow_priority(cast("Priority | None", priority)),
        deadline=None if timeout_ms is None else time.monotonic() + timeout_ms / 1000,
        bucket=bucket,
        decode_bucket=decode_bucket,
    )


def request_id_of(request: Request) -> str:
    """The id that the request came with or was given; see ``access``."""
    return record_of(request).request_id


def _buckets(request: Request, most: int) -> tuple[int | None, int | None]:
    """``16``, or ``16/4`` for steps and decoding of generation, as an answer tells them."""
    text = request.headers.get("x-batch-bucket")
    if text is None:
        return None, None
    found = re.fullmatch(r"([0-9]{1,6})(?:/([0-9]{1,6}))?", text)
    numbers = [int(number) for number in found.groups() if number is not None] if found else [0]
    if any(not 1 <= number <= most or number & (number - 1) for number in numbers):
        raise InvalidParameter(
            f"x-batch-bucket is {text[:64]!r}: send what the same header of an answer told, a power of two up to "
            f"{most} or two of them as 16/4",
            param="x-batch-bucket",
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else None


def _whole_number(request: Request, name: str, most: int) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    value = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0
    if not 1 <= value <= most:
        raise InvalidParameter(f"{name} must be a whole number from 1 to {most}", param=name)
    return value


async def run(
    service: Service,
    request: Request,
    job: Job,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Response:
    """Run a job unless the client goes away first; then it is dropped within one step or batch.

    With the header ``x-cancel-on-disconnect: false`` it is finished even when nobody reads the answer.

    Raises:
        ClientGone, what ``Engine.submit`` raises, and what ``deferred`` raises for ``prefer: respond-async``.
    """
    if (later := await deferred(service, request, job)) is not None:
        return later
    if (mark := mark_of(request)) is not None:
        job, on_progress = mark.adapt(job, service.settings.job_timeout_s), mark.on_step
    if outlives_client(request):
        return respond(await service.engine.submit(job, on_progress=on_progress))
    work = asyncio.create_task(service.engine.submit(job, on_progress=on_progress))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGone
        return respond(work.result())
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def outlives_client(request: Request) -> bool:
    """Whether the work goes on when the client leaves; the header ``x-cancel-on-disconnect: false`` says so."""
    return request.headers.get("x-cancel-on-disconnect", "").strip().lower() in ("false", "0", "no")


def respond(answer: Answer) -> Response:
    """The answer's bytes as they are."""
    timing = ", ".join(f"{stage};dur={spent:.2f}" for stage, spent in answer.timings_ms.items())
    headers = answer.headers | {
        "x-batch-size": str(answer.batch_size),
        "server-timing": timing,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    if answer.bucket is not None:
        other = answer.decode_bucket not in (None, answer.bucket)
        headers["x-batch-bucket"] = f"{answer.bucket}/{answer.decode_bucket}" if other else str(answer.bucket)
    return Response(answer.body, media_type=answer.media_type, headers=headers)


def file_answer(media_types: tuple[str, ...], headers: dict[str, str]) -> dict[str, Any]:  # OpenAPI is JSON
    """A 200 of the OpenAPI document that is a file of one of these types."""
    return {
        "description": "The file.",
        "content": dict.fromkeys(media_types, BINARY),
        "headers": {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        },
    }


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:  # the type that FastAPI asks for
    """These statuses and those that every route can answer, all in the one error shape."""
    always = {401: "No key, or not a known one.", 403: "The key may not do this."}
    always |= {429: "Full, or over a rate: ask again after Retry-After seconds."}
    always |= {410: "Cancelled by DELETE /v1/requests/{id}."}
    always |= {500: "The server failed.", 503: "Not ready, or the worker died.", 504: "Took too long."}
    own = dict.fromkeys(statuses, "The request cannot be served; the sentence says what to do.")
    return {
        status: {"model": ErrorAnswer, "description": text} for status, text in sorted((own | always).items())
    }


PICTURE_TYPES = tuple(MEDIA_TYPES.values())


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
