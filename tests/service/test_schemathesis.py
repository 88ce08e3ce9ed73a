"""What the OpenAPI document promises, held against a running server by Schemathesis: right and wrong requests for each
route, no answer of 500 and above, every answer as described. The same requests every time.
"""

import contextlib
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import serialize_binary

from tests.service.conftest import Server

EXAMPLES = 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ONCE = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/vnd.safetensors", "tensor/binary")
def as_bytes(_: Any, value: Any) -> dict[str, Any]:  # what Schemathesis makes of a binary body
    """Files that are no text are sent as they were made."""
    return {"data": serialize_binary(value)}


@pytest.fixture(scope="module")
def operations(server: Server) -> list[Any]:  # Schemathesis' operations
    schema = schemathesis.openapi.from_dict(server.get("/openapi.json").json())
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_every_answer_is_as_the_document_says(
    server: Server, operations: list[Any], mode: GenerationMode
) -> None:
    asked: dict[str, int] = {}
    with requests.Session() as session:
        session.trust_env = False

        def hold(operation: Any) -> None:
            @ONCE
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                asked[operation.label] = asked.get(operation.label, 0) + 1
                response = case.call(base_url=server.url, session=session, timeout=60)
                assert response.headers["x-request-id"]
                case.validate_response(response, checks=CHECKS)

            with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
                check()

        for operation in operations:
            hold(operation)
    assert len(asked) > 0.6 * len(operations) > 18
    assert sum(asked.values()) > 3 * len(operations)
    assert server.get("/health/ready").status_code == 200
