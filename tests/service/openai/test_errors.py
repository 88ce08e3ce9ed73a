"""Errors as OpenAI's clients read them."""

from __future__ import annotations

import json

import pytest

from service.errors import (
    BadKey,
    BodyTooLarge,
    InternalError,
    NotAllowed,
    NotAnImage,
    OutOfMemory,
    QueueFull,
    ServiceError,
    UnknownLabel,
    UnknownModel,
)
from service.openai.errors import error_answer


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (UnknownLabel("no class", param="label"), 400, "invalid_request_error"),
        (NotAnImage("no picture"), 400, "invalid_request_error"),
        (UnknownModel("no model", param="model"), 404, "invalid_request_error"),
        (BodyTooLarge("too large"), 413, "invalid_request_error"),
        (BadKey("no"), 401, "authentication_error"),
        (NotAllowed("no"), 403, "permission_error"),
        (QueueFull("full"), 429, "rate_limit_error"),
        (InternalError("failed"), 500, "server_error"),
    ],
)
def test_four_facts_and_a_status(error: ServiceError, status: int, kind: str) -> None:
    answer = error_answer(error)
    facts = json.loads(bytes(answer.body))["error"]
    assert answer.status_code == status
    assert (facts["message"], facts["type"], facts["code"]) == (error.message, kind, error.code)
    assert facts["param"] == {"label": "prompt", "model": "model", None: None}[error.param]


def test_further_facts_stand_beside_them_and_never_replace_them() -> None:
    facts = {"retry_after_s": 2.5, "type": "other"}
    answer = error_answer(QueueFull("full", details=facts))
    body = json.loads(bytes(answer.body))["error"]
    assert (body["retry_after_s"], body["type"]) == (2.5, "rate_limit_error")
    assert answer.headers["retry-after-ms"] == "2500"


def test_what_cannot_fit_is_not_to_be_sent_again() -> None:
    assert error_answer(OutOfMemory("no room")).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in error_answer(InternalError("failed")).headers
