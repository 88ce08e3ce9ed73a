"""The tree of errors: one shape, a status and a code each, and unharmed through pickle."""

import json
import pickle
from collections.abc import Iterator

import pytest

from service import errors
from service.errors import QueueFull, ServiceError


def leaves(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Every error that is answered: those without subclasses."""
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


LEAVES = sorted(set(leaves()), key=lambda kind: kind.__name__)


def test_every_code_names_one_error() -> None:
    codes = [kind.code for kind in LEAVES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_drawn_with_its_status(kind: type[ServiceError]) -> None:
    assert f"{kind.__name__} {kind.status}" in (errors.__doc__ or "")
    assert 400 <= kind.status < 600


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_crosses_a_pipe(kind: type[ServiceError]) -> None:
    error = kind("say what to do", param="size", details={"sizes": [[1, 2]]})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.to_json() == error.to_json()
    assert json.loads(json.dumps(copy.to_json())) == {
        "error": {"code": kind.code, "message": "say what to do", "param": "size", "sizes": [[1, 2]]}
    }


def test_retry_after_is_whole_seconds_and_never_zero() -> None:
    assert QueueFull("", details={"retry_after_s": 0.2}).headers == {
        "retry-after": "1",
        "retry-after-ms": "200",
    }
    assert QueueFull("", details={"retry_after_s": 2.6}).headers["retry-after"] == "3"
    assert QueueFull("").headers == {}
