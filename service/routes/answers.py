"""From a job to an HTTP answer, and how answers are described in the OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from service.codecs import MEDIA_TYPES
from service.schemas import ErrorAnswer

if TYPE_CHECKING:
    from service.engine.messages import Answer, Job
    from service.state import Service

BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE_BODY: dict[str, Any] = {  # OpenAPI is JSON
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
SIZE_HEADERS = {
    "x-tessera-size": "Pixel size, height,width.",
    "x-tessera-spec": "Identity of the latent space.",
    "x-batch-size": "Requests that shared the network pass.",
    "server-timing": "Milliseconds by stage: queue, before, core, after.",
}
BYTES_HEADERS = {
    "x-tessera-source-bytes": "Bytes of the file that was sent.",
    "x-tessera-pixel-bytes": "Bytes of the raw pixels.",
    "x-tessera-latent-bytes": "Bytes of the latent at its rate, 16 bits a value or log2 of the codes.",
}


class ClientGone(Exception):  # noqa: N818  nothing went wrong here
    """The client closed the connection; nobody reads an answer."""


async def run(service: Service, request: Request, job: Job) -> Response:
    """Run a job unless the client goes away first; then it is dropped if it has not run yet.

    Raises:
        ClientGone, and what ``Engine.submit`` raises.
    """
    work = asyncio.create_task(service.engine.submit(job))
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


def respond(answer: Answer) -> Response:
    """The answer's bytes as they are."""
    timing = ", ".join(f"{stage};dur={spent:.2f}" for stage, spent in answer.timings_ms.items())
    headers = answer.headers | {
        "x-batch-size": str(answer.batch_size),
        "server-timing": timing,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
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
    always = {401: "No key, or not a known one.", 429: "Full: ask again after Retry-After seconds."}
    always |= {500: "The server failed.", 503: "Not ready, or the worker died.", 504: "Took too long."}
    own = dict.fromkeys(statuses, "The request cannot be served; the sentence says what to do.")
    return {
        status: {"model": ErrorAnswer, "description": text} for status, text in sorted((own | always).items())
    }


PICTURE_TYPES = tuple(MEDIA_TYPES.values())


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
