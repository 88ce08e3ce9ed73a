"""Whether the server is up, and whether it takes work."""

from __future__ import annotations

from fastapi import APIRouter, Request

from service.heartbeat import check_worker
from service.routes.answers import error_answers
from service.schemas import StatusAnswer
from service.state import service_of

health_router = APIRouter()


@health_router.get("/health/live", responses={503: error_answers()[503]})
async def live(request: Request) -> StatusAnswer:
    """The event loop answers and the worker has shown a sign of life; it says nothing about the models."""
    service = service_of(request)
    check_worker(service.engine, service.settings.heartbeat_timeout_s)
    return StatusAnswer(status="alive")


@health_router.get("/health/ready", responses={503: error_answers()[503]})
async def ready(request: Request) -> StatusAnswer:
    """The models are loaded and warm, and the server is not about to end."""
    service = service_of(request)
    service.drain.refuse_readiness()
    service.engine.require_ready()
    return StatusAnswer(status="ready")
