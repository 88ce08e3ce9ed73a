"""What is served, and whether it is up."""

from __future__ import annotations

from fastapi import APIRouter, Request

from service.heartbeat import check_worker
from service.routes.answers import error_answers
from service.schemas import LimitsAnswer, ModelsAnswer, StatusAnswer
from service.state import service_of

models_router = APIRouter()
health_router = APIRouter()


@models_router.get("/v1/models", responses=error_answers())
async def models(request: Request) -> ModelsAnswer:
    """The models with spec, licence and figures, and the limits of this server."""
    service = service_of(request)
    limits = {name: getattr(service.settings, name) for name in LimitsAnswer.model_fields}
    return ModelsAnswer.model_validate({"data": service.registry.to_json(), "limits": limits})


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
