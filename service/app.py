"""The HTTP application. This process never imports torch: the models live in the worker."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from service import openapi
from service.access import CLIENT_CLOSED_REQUEST, Access, Defects, record_of
from service.errors import (
    InvalidParameter,
    KeyRefused,
    MethodNotAllowed,
    RouteNotFound,
    ServiceError,
    Unavailable,
)
from service.guard import require_key
from service.openai.errors import PREFIX, error_answer
from service.routes import (
    evaluations,
    generate,
    jobs,
    metrics,
    models,
    openai,
    page,
    pictures,
    remote,
    requests,
    status,
    tensors,
)
from service.routes.answers import ClientGone
from service.state import Service, service_of
from service.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.settings import Settings

logger = logging.getLogger(__name__)

VERSION = "0.1.0"


def create_app(settings: Settings, on_fatal: Callable[[str], None] = logger.critical) -> FastAPI:
    """The application; its worker starts with it.

    Args:
        settings: checked.
        on_fatal: called with a sentence when the worker cannot start at all.

    Raises:
        ValueError: a model of the settings cannot be served, keys cannot be read, or tracing is not installed.
    """
    tracing = Tracing.to(settings.otel_endpoint)
    service = Service.build(settings, on_fatal)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        beating = asyncio.create_task(service.heartbeat.run())
        await service.engine.start()
        if service.jobs is not None:
            await service.jobs.start(app)
        try:
            yield
        finally:
            if service.jobs is not None:
                await service.jobs.stop()
            await service.engine.stop()
            beating.cancel()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Tessera",
        version=VERSION,
        summary="Encode, decode, reconstruct and generate pictures.",
        lifespan=lifespan,
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    guarded = [Depends(require_key)]
    for router in (
        pictures.router,
        remote.router,
        generate.router,
        openai.router,
        requests.router,
        models.router,
    ):
        app.include_router(router, dependencies=guarded)
    for router in (jobs.router, evaluations.router, tensors.router):
        app.include_router(router, dependencies=guarded)
    app.include_router(status.health_router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    _surround(app, service, tracing)
    return app


def _surround(app: FastAPI, service: Service, tracing: Tracing | None) -> None:
    """The layers around the routes; the last one added is the outermost."""
    metrics.watch(service)
    app.add_middleware(Defects, answer=_service_error)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    app.add_middleware(Access, metrics=service.metrics, drain=service.drain, tracing=tracing)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    record_of(request).error = error.code
    if isinstance(error, Unavailable | KeyRefused):
        service_of(request).metrics.refused(error.code)
    if request.url.path.startswith(PREFIX):
        return error_answer(error)
    return JSONResponse(error.to_json(), error.status, headers=error.headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    message = f"{name}: {first['msg']}; /openapi.json says what {request.url.path[:64]} takes"
    return await _service_error(request, InvalidParameter(message, param=name))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path[:128]}"
    if error.status_code == 405:
        return await _service_error(
            request, MethodNotAllowed(f"{where} is not served: /openapi.json lists what is")
        )
    if error.status_code == 404:
        return await _service_error(
            request, RouteNotFound(f"{where} is not served: /openapi.json lists what is")
        )
    content = {"error": {"code": "http_error", "message": str(error.detail), "param": None}}
    return JSONResponse(content, error.status_code, headers=error.headers)


async def _client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
