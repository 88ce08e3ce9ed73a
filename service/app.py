"""The HTTP application. This process never imports torch: the models live in the worker."""

from __future__ import annotations

import logging
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.errors import InternalError, InvalidParameter, MethodNotAllowed, RouteNotFound, ServiceError
from service.keys import require_key
from service.routes import generate, page, pictures, requests, status
from service.routes.answers import ClientGone
from service.schemas import GenerateRequest, PicturesAnswer
from service.state import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.settings import Settings

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; access logs do


def create_app(settings: Settings, on_fatal: Callable[[str], None] = logger.critical) -> FastAPI:
    """The application; its worker starts with it.

    Args:
        settings: checked.
        on_fatal: called with a sentence when the worker cannot start at all.

    Raises:
        ValueError: a model of the settings cannot be served.
    """
    service = Service.build(settings, on_fatal)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.engine.start()
        try:
            yield
        finally:
            await service.engine.stop()

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
    for router in (pictures.router, generate.router, requests.router, status.models_router):
        app.include_router(router, dependencies=guarded)
    app.include_router(status.health_router)
    app.include_router(page.router)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _defect)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


async def _service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
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


async def _defect(request: Request, error: Exception) -> Response:
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s in %s %s", incident, request.method, request.url.path, exc_info=error)
    message = f"the server failed on this request; its log has the reason under incident {incident}"
    return await _service_error(request, InternalError(message, details={"incident": incident}))


def _openapi(app: FastAPI) -> dict[str, Any]:  # OpenAPI is JSON
    """FastAPI's document, with the schemas of bodies that routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = document["components"]["schemas"]
        for model in (GenerateRequest, PicturesAnswer):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
