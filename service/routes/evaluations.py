"""Evaluations: measure a served model on a data set of the server, as a job."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from service.bodies import MAX_JSON_BYTES
from service.errors import InvalidParameter
from service.jobs.child import LOG
from service.jobs.errors import NoReport, UnknownJob
from service.jobs.house import JobHouse
from service.jobs.kinds.evaluation import EVALUATION, OUT
from service.jobs.record import JobRecord
from service.jobs.shapes import (
    DataAnswer,
    DeletedAnswer,
    EvaluationAnswer,
    EvaluationRequest,
    EvaluationsAnswer,
    ListQuery,
    ReportQuery,
)
from service.registry import ServedGenerator
from service.routes.answers import error_answers
from service.routes.deferred import POLL_MS, accepted, idempotency_key, owner_of
from service.routes.files import file_part
from service.routes.jobs import RANGED, house_of, page
from service.state import service_of
from tokenizer.core.config import explain

router = APIRouter()

REPORTS = {
    "html": ("report.html", "text/html; charset=utf-8"),
    "json": ("report.json", "application/json"),
    "csv": ("per_image.csv", "text/csv; charset=utf-8"),
    "png": ("grid.png", "image/png"),
    "npz": ("samples.npz", "application/octet-stream"),
}
# The page holds its pictures and styles itself; it may run nothing and fetch nothing.
REPORT_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
    "referrer-policy": "no-referrer",
}
BODY: dict[str, Any] = {  # OpenAPI is JSON
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EvaluationRequest"}}},
    }
}


@router.post(
    "/v1/evaluations",
    status_code=202,
    response_model=EvaluationAnswer,
    responses=error_answers(400, 404, 408, 413, 422),
    openapi_extra=BODY,
)
async def start(request: Request) -> Response:
    """Begin an evaluation; the same `Idempotency-Key` with the same body gives the same one."""
    service, house = service_of(request), house_of(request)
    async with service.bodies.read(request, max_bytes=MAX_JSON_BYTES) as body:
        try:
            asked = EvaluationRequest.model_validate_json(body)
        except ValidationError as error:
            raise _refusal(error) from None
    house.data_set(asked.data)
    models = service.registry
    model = models.generator(asked.model) if asked.job == "generate" else models.tokenizer(asked.model)
    if isinstance(model, ServedGenerator) and model.pipeline is not None:
        raise InvalidParameter(
            f"generator {model.name!r} is a pipeline of diffusers, and only generators of ours are evaluated: name one",
            param="model",
        )
    wanted = asked.model_copy(update={"model": model.name}).model_dump(mode="json")
    record, created = await house.submit(
        EVALUATION.name, owner_of(request), wanted, key=idempotency_key(request)
    )
    return await accepted(house, record, created, f"/v1/evaluations/{record.id}")


@router.get("/v1/evaluations", responses=error_answers(404, 422))
async def evaluations(request: Request, query: Annotated[ListQuery, Query()]) -> EvaluationsAnswer:
    """The caller's evaluations, newest first, by pages."""
    found = await page(request, query, EVALUATION.name)
    return EvaluationsAnswer.model_validate(found)


@router.get("/v1/evaluations/data", responses=error_answers(404))
async def data(request: Request) -> DataAnswer:
    """The data sets that an evaluation can name."""
    return DataAnswer(data=sorted(house_of(request).data))


@router.get("/v1/evaluations/{job_id}", response_model=EvaluationAnswer, responses=error_answers(404))
async def evaluation(request: Request, job_id: str) -> Response:
    """An evaluation with its progress, and its numbers once it has ended."""
    house, record = await _find(request, job_id)
    return JSONResponse(await house.show(record), headers=POLL_MS)


@router.get(
    "/v1/evaluations/{job_id}/log", response_class=Response, responses=RANGED | error_answers(404, 416)
)
async def log(request: Request, job_id: str) -> Response:
    """What the evaluation has said so far; `Range: bytes=1000-` gives what is new since."""
    house, record = await _find(request, job_id)
    return await _file(request, house, record, LOG, "text/plain; charset=utf-8", "has said nothing yet")


@router.get(
    "/v1/evaluations/{job_id}/report",
    response_class=Response,
    responses=RANGED | error_answers(404, 416, 422),
)
async def report(request: Request, job_id: str, query: Annotated[ReportQuery, Query()]) -> Response:
    """The report: a page, the numbers (json), scores by picture (csv); of a generator also a grid and samples."""
    house, record = await _find(request, job_id)
    name, media_type = REPORTS[query.format]
    also = record.request.get("also") or []
    if query.protocol is not None and query.protocol not in (record.request["protocol"], *also):
        known = ", ".join([record.request["protocol"], *also])
        raise InvalidParameter(
            f"evaluation {job_id} has no protocol {query.protocol}: use one of {known}", param="protocol"
        )
    below = f"{query.protocol}/" if query.protocol in also else ""
    missing = f"has no {name}: its status says whether it has ended, its log what happened"
    return await _file(request, house, record, f"{OUT}/{below}{name}", media_type, missing)


@router.post("/v1/evaluations/{job_id}/cancel", responses=error_answers(404))
async def cancel(request: Request, job_id: str) -> EvaluationAnswer:
    """End an evaluation that waits or runs; one that has ended stays as it is."""
    house, record = await _find(request, job_id)
    record = await house.cancel(record.id, owner_of(request))
    return EvaluationAnswer.model_validate(await house.show(record))


@router.delete("/v1/evaluations/{job_id}", responses=error_answers(404, 409))
async def delete(request: Request, job_id: str) -> DeletedAnswer:
    """Forget an evaluation that has ended, and its files."""
    house, record = await _find(request, job_id)
    await house.delete(record.id, owner_of(request))
    return DeletedAnswer(id=record.id, object="evaluation.deleted")


async def _find(request: Request, job_id: str) -> tuple[JobHouse, JobRecord]:
    house = house_of(request)
    record = await house.get(job_id, owner_of(request))
    if record.kind != EVALUATION.name:
        raise UnknownJob(f"job {job_id[:64]!r} is no evaluation: GET /v1/jobs/{record.id} shows it")
    return house, record


async def _file(
    request: Request, house: JobHouse, record: JobRecord, name: str, media_type: str, missing: str
) -> Response:
    path = house.folders.of(record.id) / name
    if not await asyncio.to_thread(path.is_file):
        raise NoReport(f"evaluation {record.id} {missing}")
    return await asyncio.to_thread(file_part, request, path, media_type, REPORT_HEADERS)


def _refusal(error: ValidationError) -> InvalidParameter:
    first = error.errors()[0]["loc"]
    lines = explain(error, EvaluationRequest).splitlines()[:5]
    return InvalidParameter(
        f'the body must be JSON like {{"data": "NAME"}}: {" · ".join(line[:200] for line in lines)}',
        param=str(first[0]) if first else None,
    )
