"""The models: what is served, loading and unloading, adding and removing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError

from service.bodies import MAX_JSON_BYTES
from service.errors import InvalidParameter
from service.registry.allowed import find_below, parse_folders
from service.registry.folders import read_model, resolve
from service.routes.answers import error_answers
from service.schemas import (
    AddModelRequest,
    GeneratorAnswer,
    KindQuery,
    LimitsAnswer,
    MemoryAnswer,
    ModelsAnswer,
    RemovedAnswer,
    TokenizerAnswer,
)
from service.state import Service, service_of
from tokenizer.core.config import explain

if TYPE_CHECKING:
    from service.registry import Key, Served

router = APIRouter()

OneModel = TokenizerAnswer | GeneratorAnswer
Kind = Annotated[KindQuery, Query()]
ADD_BODY: dict[str, Any] = {  # OpenAPI is JSON
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/AddModelRequest"}}},
    }
}


@router.get("/v1/models", responses=error_answers())
async def models(request: Request) -> ModelsAnswer:
    """All models with state, spec, licence and figures; the memory that they hold, and the limits of this server."""
    service = service_of(request)
    return ModelsAnswer(
        data=[_answer(service, key) for key in service.registry.known],
        memory=MemoryAnswer(
            used_bytes=service.lifecycle.memory_bytes, budget_bytes=service.lifecycle.budget_bytes
        ),
        limits=LimitsAnswer(**{name: getattr(service.settings, name) for name in LimitsAnswer.model_fields}),
    )


@router.get("/v1/models/{name}", responses=error_answers(404, 422))
async def model(request: Request, name: str, query: Kind) -> OneModel:
    """One model."""
    service = service_of(request)
    return _answer(service, service.registry.find(name, query.kind))


@router.post(
    "/v1/models",
    status_code=201,
    responses=error_answers(400, 403, 408, 409, 413, 422),
    openapi_extra=ADD_BODY,
)
async def add(request: Request) -> OneModel:
    """Serve another model, from a folder below TESSERA_MODEL_FOLDERS; its first request loads it."""
    service = service_of(request)
    async with service.bodies.read(request, max_bytes=MAX_JSON_BYTES) as body:
        try:
            asked = AddModelRequest.model_validate_json(body)
        except ValidationError as error:
            raise _refusal(error) from None
    found = await asyncio.to_thread(_read, service, asked)
    return _answer(service, service.registry.add(found))


@router.post("/v1/models/{name}/load", responses=error_answers(404, 409, 422))
async def load(request: Request, name: str, query: Kind) -> OneModel:
    """Load a model, and the tokenizer that it needs; answers when it is warm."""
    service = service_of(request)
    service.engine.require_ready()
    key = service.registry.find(name, query.kind)
    await service.lifecycle.load(key)
    return _answer(service, key)


@router.post("/v1/models/{name}/unload", responses=error_answers(404, 409, 422))
async def unload(request: Request, name: str, query: Kind) -> OneModel:
    """Give a model's memory back; its next request loads it again."""
    service = service_of(request)
    key = service.registry.find(name, query.kind)
    await service.lifecycle.unload(key)
    return _answer(service, key)


@router.post("/v1/models/{name}/default", responses=error_answers(404, 422))
async def make_default(request: Request, name: str, query: Kind) -> OneModel:
    """Make a model the one that requests mean which name none of its kind."""
    service = service_of(request)
    key = service.registry.find(name, query.kind)
    service.registry.set_default(key)
    return _answer(service, key)


@router.delete("/v1/models/{name}", responses=error_answers(404, 409, 422))
async def remove(request: Request, name: str, query: Kind) -> RemovedAnswer:
    """Unload a model and serve it no longer; its folder stays."""
    service = service_of(request)
    await service.lifecycle.forget(service.registry.find(name, query.kind))
    return RemovedAnswer(id=name)


def _read(service: Service, asked: AddModelRequest) -> Served:
    """The model in the folder that is asked for; no answer tells where on this machine it is."""
    folder = find_below(parse_folders(service.settings.model_folders), asked.path)
    try:
        return read_model(asked.name, resolve(folder), list(service.registry.tokenizers.values()))
    except ValueError as error:
        reason = str(error).replace(str(folder), asked.path)
        raise InvalidParameter(f"{asked.path[:128]} cannot be served: {reason}", param="path") from None


def _answer(service: Service, key: Key) -> OneModel:
    facts = service.registry.describe(key) | service.lifecycle.facts(key)
    return TokenizerAnswer(**facts) if key[0] == "tokenizer" else GeneratorAnswer(**facts)


def _refusal(error: ValidationError) -> InvalidParameter:
    first = error.errors()[0]["loc"]
    message = " · ".join(line[:200] for line in explain(error, AddModelRequest).splitlines()[:5])
    return InvalidParameter(
        f'the body must be JSON like {{"name": "photos", "path": "dcae/f32"}}: {message}',
        param=str(first[0]) if first else None,
    )
