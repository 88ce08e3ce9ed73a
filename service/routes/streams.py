"""A job's news and its result as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

from service.access import record_of
from service.errors import ServiceError
from service.sse import Events, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from service.engine.messages import Answer, Job, Progress
    from service.state import Service

PREVIEW_MEDIA_TYPE = "image/jpeg"


async def admitted(
    service: Service, job: Job, on_progress: Callable[[Progress], None] | None
) -> asyncio.Task[Answer]:
    """Start a job. What admission refuses is raised here, while the answer can still have that status.

    Raises:
        QueueFull, NotReady.
    """
    work = asyncio.create_task(service.engine.submit(job, on_progress=on_progress))
    await asyncio.sleep(0)  # admission happens before the job is first waited for
    if work.done():
        work.result()
    return work


def tell(events: Events, progress: Progress) -> None:
    """Offer the events ``progress`` and, where there is one, ``preview``."""
    steps = {"step": progress.step, "num_steps": progress.num_steps}
    events.offer(event("progress", steps))
    if progress.preview is not None:
        picture = {"media_type": PREVIEW_MEDIA_TYPE, "b64": base64.b64encode(progress.preview).decode()}
        events.offer(event("preview", steps | picture))


def result_event(answer: Answer, seed: int) -> bytes:
    """The event ``result``: JSON as several pictures come without streaming, whatever the number and format.

    Encoding megabytes takes a while: call it in a thread.
    """
    if answer.media_type == "application/json":
        facts = json.loads(answer.body)
    else:
        facts = {
            "seed": seed,
            "size": [int(side) for side in answer.headers["x-tessera-size"].split(",")],
            "spec_id": answer.headers.get("x-tessera-spec"),
            "media_type": answer.media_type,
            "data": [{"index": 0, "b64": base64.b64encode(answer.body).decode()}],
        }
    facts |= {
        "headers": answer.headers,  # of raw formats, they say what the bytes are
        "batch_size": answer.batch_size,
        "batch_bucket": answer.bucket,
        "timings_ms": {stage: round(spent, 2) for stage, spent in answer.timings_ms.items()},
    }
    return event("result", facts)


def error_told(
    request: Request, error: ServiceError, body_of: Callable[[ServiceError], object] = ServiceError.to_json
) -> bytes:
    """The event ``error``, noted in the request's log line, whose status went out long ago."""
    record_of(request).error = error.code
    return event("error", body_of(error))
