"""Requests that wait or run: cancel one by its id."""

from __future__ import annotations

from fastapi import APIRouter, Request

from service.errors import UnknownRequest
from service.routes.answers import error_answers
from service.schemas import CancelAnswer
from service.state import service_of

router = APIRouter()


@router.delete("/v1/requests/{request_id}", responses=error_answers(404, 422))
async def cancel(request: Request, request_id: str) -> CancelAnswer:
    """End the request that carries this ``x-request-id``; its own caller is answered 410 ``cancelled``."""
    if not service_of(request).engine.cancel(request_id):
        raise UnknownRequest(
            f"no request {request_id[:64]!r} waits or runs: it may be answered already; the id is the one that was "
            "sent as x-request-id, or that the answer carries",
            param="request_id",
        )
    return CancelAnswer(id=request_id, cancelled=True)
