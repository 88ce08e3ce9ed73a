"""Failures as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}`` and its statuses.

Every further fact of ours stands beside these four. Unusable requests are 400, which the ``openai`` package raises as
BadRequestError, where our own routes tell 415 and 422 apart; ``code`` still does.
"""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from service.errors import OutOfMemory, ServiceError

PREFIX = "/v1/images/"
STATUSES = {415: 400, 422: 400}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# How the parameters of ours are called there.
NAMES = {"label": "prompt", "num_images": "n", "output": "output_format", "file": "image"}


def error_body(error: ServiceError) -> dict[str, Any]:  # JSON
    """The body of the answer, or the data of an ``error`` event."""
    param = NAMES.get(error.param, error.param) if error.param else None
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    four = {"message": error.message, "type": kind, "param": param, "code": error.code}
    return {"error": {**error.details, **four}}


def error_answer(error: ServiceError) -> JSONResponse:
    """The whole answer."""
    headers = error.headers
    if isinstance(error, OutOfMemory):  # clients would send what cannot fit twice more
        headers = headers | {"x-should-retry": "false"}
    return JSONResponse(error_body(error), STATUSES.get(error.status, error.status), headers=headers)
