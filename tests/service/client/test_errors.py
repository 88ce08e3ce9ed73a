"""What the server said comes back as the class that it raised; anything else is named for what it is."""

import json

import pytest

from service.client.errors import BadAnswer, ClientError, OtherRefusal, from_answer
from service.errors import QueueFull, ServiceError, TooManyPixels
from service.jobs.errors import UnknownJob


def leaves(kind: type[ServiceError]) -> list[type[ServiceError]]:
    return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]


@pytest.mark.parametrize("kind", leaves(ServiceError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_comes_back_as_itself(kind: type[ServiceError]) -> None:
    sent = kind("say what to do", param="size", details={"limit": 3})
    error = from_answer(kind.status, json.dumps(sent.to_json()).encode())
    assert type(error) is kind
    assert error.message == "say what to do"
    assert error.to_json() == sent.to_json()


def test_errors_of_jobs_are_known() -> None:
    assert {QueueFull, TooManyPixels, UnknownJob} <= set(leaves(ServiceError))


def test_an_unknown_code_keeps_status_code_and_sentence() -> None:
    error = from_answer(418, b'{"error": {"code": "teapot", "message": "drink tea", "param": null}}')
    assert isinstance(error, OtherRefusal)
    assert (error.status, error.code, str(error)) == (418, "teapot", "drink tea")


@pytest.mark.parametrize(
    "body", [b"<html>Bad gateway</html>", b"", b"[]", b'{"error": "text"}', b'{"detail": 1}', b"\xff"]
)
def test_what_no_server_of_ours_says_is_shown(body: bytes) -> None:
    error = from_answer(502, body)
    assert isinstance(error, BadAnswer)
    assert isinstance(error, ClientError)
    assert "502" in str(error)
