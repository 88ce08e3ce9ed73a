"""Jobs: what was sent with ``prefer: respond-async``, and evaluations; those of the caller's key only."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from service.jobs.house import JobHouse, require
from service.jobs.record import STATUS, JobRecord
from service.jobs.shapes import DeletedAnswer, JobAnswer, JobsAnswer, JobsQuery, ListQuery
from service.routes.answers import BINARY, error_answers
from service.routes.deferred import POLL_MS, owner_of
from service.routes.files import file_part
from service.sse import Events, EventStream, event
from service.state import service_of

router = APIRouter()

STATE_OF = {status: state for state, status in STATUS.items()}
RANGED: dict[int | str, dict[str, Any]] = {  # OpenAPI is JSON
    200: {"description": "The file.", "content": {"application/octet-stream": BINARY}},
    206: {"description": "What `Range` asks for.", "content": {"application/octet-stream": BINARY}},
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events named by the status, each with the job as JSON; the last one ends the stream.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/v1/jobs", responses=error_answers(404, 422))
async def jobs(request: Request, query: Annotated[JobsQuery, Query()]) -> JobsAnswer:
    """The caller's jobs of all kinds, newest first, by pages."""
    return JobsAnswer.model_validate(await page(request, query, query.kind))


@router.get("/v1/jobs/{job_id}", response_model=JobAnswer, responses=error_answers(404))
async def job(request: Request, job_id: str) -> Response:
    """A job with its progress, its place in the line and its end as far as can be told."""
    house = house_of(request)
    record = await house.get(job_id, owner_of(request))
    return JSONResponse(await house.show(record), headers=POLL_MS)


@router.get(
    "/v1/jobs/{job_id}/result", response_class=Response, responses=RANGED | error_answers(404, 409, 416)
)
async def result(request: Request, job_id: str) -> Response:
    """What the job made: the bytes and headers that its request would have been answered with."""
    house = house_of(request)
    record = await house.get(job_id, owner_of(request))
    path = house.result_of(record)
    assert record.result is not None  # result_of has seen it
    return await asyncio.to_thread(file_part, request, path, record.result.media_type, record.result.headers)


@router.get("/v1/jobs/{job_id}/events", response_class=Response, responses=EVENTS | error_answers(404))
async def events(request: Request, job_id: str) -> Response:
    """The job whenever something about it changes, as server-sent events, until it has ended."""
    house, owner = house_of(request), owner_of(request)
    await house.get(job_id, owner)  # an unknown one is a 404, not an event
    stream = Events()

    async def tell() -> None:
        async for shown in house.follow(job_id, owner):
            ended = shown["completed_at"] is not None
            (stream.put if ended else stream.offer)(event(str(shown["status"]), shown))

    return EventStream(stream, tell)


@router.post("/v1/jobs/{job_id}/cancel", responses=error_answers(404))
async def cancel(request: Request, job_id: str) -> JobAnswer:
    """End a job that waits or runs; one that has ended stays as it is."""
    house = house_of(request)
    return JobAnswer.model_validate(await house.show(await house.cancel(job_id, owner_of(request))))


@router.delete("/v1/jobs/{job_id}", responses=error_answers(404, 409))
async def delete(request: Request, job_id: str) -> DeletedAnswer:
    """Forget a job that has ended, and its files."""
    record = await house_of(request).delete(job_id, owner_of(request))
    return DeletedAnswer(id=record.id, object="job.deleted")


async def page(request: Request, query: ListQuery, kind: str | None) -> dict[str, object]:
    """A page of the caller's jobs."""
    house = house_of(request)
    records: list[JobRecord] = await house.page(
        owner_of(request),
        limit=query.limit + 1,
        after=query.after,
        newest_first=query.order == "desc",
        kind=kind,
        state=None if query.status is None else STATE_OF[query.status],
    )
    shown = [await house.show(record) for record in records[: query.limit]]
    return {
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(records) > query.limit,
    }


def house_of(request: Request) -> JobHouse:
    """The jobs of this server.

    Raises:
        JobsOff.
    """
    return require(service_of(request).jobs)
