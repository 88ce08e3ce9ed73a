"""The OpenAPI document: FastAPI's, with schemas of bodies that routes read themselves, and examples of everything.

Errors are shown from the tree in ``errors.py``: every status of a route lists the codes that can come with it, in the
sentences of their classes, so that a new error is documented by being written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from service.errors import ServiceError, Unavailable
from service.jobs.examples import EXAMPLES as JOB_EXAMPLES
from service.jobs.shapes import EvaluationRequest
from service.openai.schemas import ImagesAnswer, ImagesRequest
from service.schemas import AddModelRequest, GenerateRequest, PicturesAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from pydantic import BaseModel

Json = dict[str, Any]  # OpenAPI is JSON

# Schemas of bodies that routes read or write as bytes.
SCHEMAS: tuple[type[BaseModel], ...] = (
    GenerateRequest,
    PicturesAnswer,
    ImagesRequest,
    ImagesAnswer,
    AddModelRequest,
    EvaluationRequest,
)
# Values of parameters that show what they are for.
PARAMETERS: dict[str, object] = {
    "model": "demo",
    "name": "demo",
    "x-tessera-size": "480,640",
    "x-tessera-spec": "0123456789abcdef",
    "x-tessera-shape": "1,32,30,40",
    "x-tessera-dtype": "float16",
    "x-tessera-scale": "0.02,0.019",
    "x-tessera-offset": "-2.5,-2.4",
    "x-request-id": "report-7",
    "x-priority": "batch",
    "x-timeout-ms": 5000,
    "x-batch-bucket": "4",
    "x-cancel-on-disconnect": "false",
    "request_id": "report-7",
    "job_id": "job_0123456789abcdef01234567",
    "quality": 90,
}
# What every request that makes the network work may say in headers; see ``routes/answers.envelope``.
WORKING = (
    "/v1/encode",
    "/v1/decode",
    "/v1/reconstruct",
    "/v1/generate",
    "/v1/remote/",
    "/v1/tensors/",
    "/v1/images/",
)
ENVELOPE: tuple[tuple[str, str, Json], ...] = (
    (
        "x-request-id",
        "Name of the request, to cancel it by.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    ),
    (
        "x-priority",
        "batch runs when nothing interactive waits.",
        {"type": "string", "enum": ["interactive", "batch"]},
    ),
    (
        "x-batch-bucket",
        "Rows of the passes it runs in, as the same header of an answer told: same seed, same bytes.",
        {"type": "string", "pattern": "^[0-9]{1,3}(/[0-9]{1,3})?$"},
    ),
    (
        "x-cancel-on-disconnect",
        "false finishes the work when the client leaves.",
        {"type": "string", "enum": ["true", "false"]},
    ),
)
DESCRIPTION = (
    "Requests that make the network work have a deadline in the header `x-timeout-ms`: past it the answer is 504, and "
    "429 at once where the wait is predicted to be longer."
)
# A picture of one pixel, and a latent cut short, as fields of JSON bodies that carry files in base64.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
FILES: dict[str, object] = {
    "image": PIXEL,
    "images": [PIXEL, PIXEL],
    "latent": "sAAAAAAAAAB7Il9fbWV0YWRhdGFfXyI6",
}
# A tokenizer as it is listed.
DEMO: Json = {
    "id": "demo",
    "object": "model",
    "created": 1767225600,
    "owned_by": "tessera",
    "name": "demo",
    "default": True,
    "spec_id": "0123456789abcdef",
    "family": "tessera",
    "state": "loaded",
    "memory_bytes": 27000000,
    "load_seconds": 1.5,
    "in_use": 0,
    "error": None,
    "kind": "tokenizer",
    "spec": {"parts": [{"name": "z", "layout": "2d", "channels": 32}]},
    "codes": None,
    "licence": "CC0-1.0",
    "figures": {"psnr": 27.4},
    "weights_bytes": 27000000,
}
# JSON bodies by the name of their schema, where the schema has no example of its own.
BODIES: dict[str, Json] = {
    "GenerateRequest": {
        "one": {"summary": "One picture of a class", "value": {"label": 0, "seed": 7}},
        "several": {
            "summary": "Four pictures in twelve steps, as JSON",
            "value": {"label": "dress", "num_images": 4, "num_steps": 12, "guidance": 2.5, "output": "webp"},
        },
        "latent": {"summary": "The latent, to decode later", "value": {"label": 1, "output": "latent"}},
        "text": {"summary": "A picture of a text", "value": {"prompt": "a red fox", "size": [512, 512]}},
    },
    "AddModelRequest": {
        "one": {
            "summary": "A folder below TESSERA_MODEL_FOLDERS",
            "value": {"name": "sana", "path": "pipelines/sana"},
        }
    },
    "RemovedAnswer": {"gone": {"value": {"id": "sana", "object": "model", "deleted": True}}},
    "PicturesAnswer": {
        "two": {
            "summary": "Two pictures",
            "value": {
                "seed": 7,
                "size": [128, 128],
                "spec_id": "0123456789abcdef",
                "media_type": "image/png",
                "data": [{"index": 0, "b64": "iVBORw0KGgo="}, {"index": 1, "b64": "iVBORw0KGgo="}],
            },
        }
    },
    "ImagesRequest": {
        "one": {"summary": "One picture of a class", "value": {"prompt": "dress", "size": "auto", "seed": 7}},
        "streamed": {
            "summary": "A stream with two partial images",
            "value": {"prompt": "dress", "output_format": "jpeg", "stream": True, "partial_images": 2},
        },
    },
    "ImagesAnswer": {
        "one": {
            "summary": "One picture",
            "value": {
                "created": 1767225600,
                "data": [{"b64_json": "iVBORw0KGgo="}],
                "background": "opaque",
                "output_format": "png",
                "quality": None,
                "size": "128x128",
                "usage": {
                    "input_tokens": 0,
                    "output_tokens": 0,
                    "total_tokens": 0,
                    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
                },
                "seed": 7,
            },
        }
    },
    **JOB_EXAMPLES,
    "TokenizerAnswer": {"demo": {"summary": "A tokenizer", "value": DEMO}},
    "StatusAnswer": {"up": {"value": {"status": "ready"}}},
    "CancelAnswer": {"ended": {"value": {"id": "report-7", "cancelled": True}}},
    "ModelsAnswer": {
        "one": {
            "summary": "One tokenizer, no generator",
            "value": {
                "object": "list",
                "data": [DEMO],
                "memory": {"used_bytes": 27000000, "budget_bytes": None},
                "limits": {
                    "max_body_bytes": 33554432,
                    "max_pixels": 16777216,
                    "max_images": 16,
                    "max_steps": 250,
                    "max_guidance": 20.0,
                },
            },
        }
    },
}


def document(app: FastAPI) -> Json:
    """The document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            routes=app.routes,
        )
        schemas = found["components"]["schemas"]
        for model in SCHEMAS:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        for label, operation in operations(found):
            _add_envelope(label, operation)
            _correct_refusal(operation)
            _add_examples(operation)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = found
    return app.openapi_schema


def operations(found: Json) -> Iterator[tuple[str, Json]]:
    """``("POST /v1/encode", operation)`` of every route."""
    for path, item in found["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def error_examples(status: int) -> Json:
    """An example of every error that has this status, by its code."""
    return {
        kind.code: {"summary": _sentence(kind), "value": _example(kind)}
        for kind in leaves()
        if kind.status == status
    }


def leaves(kind: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    """Every error that is answered: those without subclasses, in the order of the tree."""
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] or [kind]


def _correct_refusal(operation: Json) -> None:
    """FastAPI documents a 422 of its own shape for routes that name none; here it has ours, as in fact it has."""
    media = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if _name(media.get("schema", {})) == "HTTPValidationError":
        operation["responses"]["422"] = {
            "description": "A parameter cannot be read; the sentence says what to do.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
        }


def _add_envelope(label: str, operation: Json) -> None:
    method, _, path = label.partition(" ")
    if method == "POST" and path.startswith(WORKING):
        sent = [
            {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
            for name, text, schema in ENVELOPE
        ]
        operation["parameters"] = [*operation.get("parameters", []), *sent]


def _add_examples(operation: Json) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["name"] in PARAMETERS and "example" not in parameter:
            parameter["example"] = PARAMETERS[parameter["name"]]
    _add_to_content(operation.get("requestBody", {}).get("content", {}))
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status.isdecimal() and int(status) >= 400:
            for media in content.values():
                media.setdefault("examples", error_examples(int(status)))
        else:
            _add_to_content(content)


def _add_to_content(content: Json) -> None:
    for media_type, media in content.items():
        if media_type != "application/json" or "example" in media or "examples" in media:
            continue
        schema = media.get("schema", {})
        name = _name(schema)
        if name in BODIES:
            media["examples"] = BODIES[name]
        elif FILES.keys() & schema.get("properties", {}).keys():
            media["examples"] = {
                field: {"value": {field: FILES[field]}} for field in schema["properties"] if field in FILES
            }


def _name(schema: Json) -> str:
    """Of the schema that a reference, or the first of several, names."""
    first = (schema.get("anyOf") or [schema])[0]
    return str(first.get("$ref", "")).rsplit("/", 1)[-1]


def _sentence(kind: type[ServiceError]) -> str:
    """The first sentence of an error's docstring, in plain words."""
    text = " ".join((kind.__doc__ or kind.code).split())
    return re.split(r"(?<=\.) ", text, maxsplit=1)[0].replace("`", "")


def _example(kind: type[ServiceError]) -> Json:
    details: dict[str, object] = {"retry_after_s": 2.5} if issubclass(kind, Unavailable) else {}
    return kind(_sentence(kind), details=details).to_json()
