"""``prefer: respond-async``: a request becomes a job and is answered 202 at once.

What the request asks for has been checked by then, so a job is never refused for it later. A server without jobs
ignores the preference, as any may.

Source: RFC 7240, sections 2, 3 and 4.1; draft-ietf-httpapi-idempotency-key-header-07, section 2.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from service.access import record_of
from service.errors import InvalidParameter
from service.jobs.kinds import REPLAYED
from service.jobs.replay import mark_of, stored
from service.jobs.shapes import JobAnswer
from service.keys import key_of
from service.state import service_of

if TYPE_CHECKING:
    from fastapi import Request, Response

    from service.engine.messages import Job
    from service.jobs.house import JobHouse
    from service.jobs.record import JobRecord
    from service.state import Service

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
POLL_MS = {"openai-poll-after-ms": "1000"}
DEFERRABLE: dict[int | str, dict[str, Any]] = {  # OpenAPI is JSON
    202: {
        "model": JobAnswer,
        "description": "With `prefer: respond-async`: the job, whose address is in `location`.",
    }
}


async def deferred(service: Service, request: Request, job: Job) -> Response | None:
    """The answer 202 to a request that wants to be a job; None for one that is to be answered now.

    Args:
        service: with a store of jobs, or not.
        request: whose body has been read.
        job: what it would have the engine do; it is paid for now.

    Raises:
        InvalidParameter, IdempotencyConflict, QueueFull, RateLimited.
    """
    kind = REPLAYED.get(request.scope["path"])
    body = getattr(request.state, "body", None)  # bodies.py leaves it here, as it came
    if service.jobs is None or kind is None or body is None or not prefers_async(request):
        return None
    record = record_of(request)
    record.caller.allow_images(getattr(job, "num_images", 1))
    service.meter.charge_pixels(record, job.cost)
    headers = {name: value for name, value in request.headers.items() if name.isascii() and value.isascii()}
    wanted = stored(kind.path, request.scope["query_string"].decode("latin-1"), headers)
    created = False
    try:
        row, created = await service.jobs.submit(
            kind.name, owner_of(request), wanted, body=body, key=idempotency_key(request)
        )
    finally:
        if not created:
            service.meter.refund_pixels(record, job.cost)
    return await accepted(service.jobs, row, created, f"/v1/jobs/{row.id}")


def prefers_async(request: Request) -> bool:
    """Whether the request wants to be a job, and is not one already."""
    if mark_of(request) is not None:
        return False
    wanted = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return "respond-async" in (preference.partition(";")[0].strip() for preference in wanted)


def owner_of(request: Request) -> str:
    """Hash of the caller's key; empty on an open server, whose jobs belong to everyone."""
    if not service_of(request).keys.required:
        return ""
    return hashlib.sha256(key_of(request.headers.get("authorization")) or b"").hexdigest()


def idempotency_key(request: Request) -> str | None:
    """The header ``Idempotency-Key``.

    Raises:
        InvalidParameter: too long, or not printable ASCII.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidParameter(
            "the Idempotency-Key must be 1 to 255 printable ASCII characters, for example a UUID",
            param="idempotency-key",
        )
    return key


async def accepted(house: JobHouse, record: JobRecord, created: bool, location: str) -> Response:
    """202 with the job; ``idempotency-replayed`` tells that an earlier request had made it."""
    headers = POLL_MS | {"location": location, "preference-applied": "respond-async"}
    if not created:
        headers["idempotency-replayed"] = "true"
    return JSONResponse(await house.show(record), 202, headers)
