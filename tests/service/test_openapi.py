"""The document: valid, every route with an example, every error with one, and every example as its schema says."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from service import openapi
from service.app import create_app
from service.errors import ServiceError
from service.settings import Settings
from tests.service.conftest import models_setting

JSON = "application/json"


@pytest.fixture(scope="module")
def document(models: dict[str, Path]) -> dict[str, Any]:
    return create_app(Settings(models=models_setting(models))).openapi()


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)  # type: ignore[arg-type]  # asks for a mapping of hashables, which JSON objects are
    assert document["openapi"].startswith("3.1")


def test_every_operation_has_an_id_of_its_own_and_says_what_it_does(document: dict[str, Any]) -> None:
    found = list(openapi.operations(document))
    assert len({operation["operationId"] for _, operation in found}) == len(found) > 8
    for name, operation in found:
        assert operation.get("description"), name


def test_every_parameter_is_told_by_example_or_choice(document: dict[str, Any]) -> None:
    for name, operation in openapi.operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            shown = "example" in parameter or "examples" in parameter
            told = {"enum", "default", "const", "examples"} & schema.keys()
            assert shown or told or "anyOf" in schema, (name, parameter["name"])


def test_routes_that_make_the_network_work_tell_what_their_headers_say(document: dict[str, Any]) -> None:
    names = {name for name, _, _ in openapi.ENVELOPE}
    for name, operation in openapi.operations(document):
        sent = [parameter["name"] for parameter in operation.get("parameters", [])]
        assert len(sent) == len(set(sent)), name
        method, path = name.split(" ")
        working = method == "POST" and path.startswith(openapi.WORKING)
        assert names <= set(sent) if working else "x-batch-bucket" not in sent, name


def test_every_json_body_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in openapi.operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            media = body.get("content", {}).get(JSON)
            if media is None or "text/event-stream" in body["content"]:
                continue
            schema = resolved(document, media.get("schema", {}))
            told = "example" in media or "examples" in media or "examples" in schema or "example" in schema
            assert told, (name, media)


def test_every_error_of_a_status_is_an_example_of_it(document: dict[str, Any]) -> None:
    statuses = set()
    for name, operation in openapi.operations(document):
        for status, answer in operation["responses"].items():
            if not status.isdecimal() or int(status) < 400 or JSON not in answer.get("content", {}):
                continue
            statuses.add(int(status))
            media = answer["content"][JSON]
            assert media.get("examples") or media.get("example"), (name, status)
    told = {kind.status for kind in openapi.leaves()}
    assert statuses <= told
    assert {400, 401, 403, 404, 413, 415, 422, 429, 500, 503, 504, 507} <= statuses


def test_every_example_is_as_its_schema_says(document: dict[str, Any]) -> None:
    checked = 0
    for name, operation in openapi.operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            media = body.get("content", {}).get(JSON)
            if media is None:
                continue
            schema = media.get("schema", {}) | {"components": document["components"]}
            validator = jsonschema.Draft202012Validator(schema)
            examples = [example["value"] for example in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            for example in examples:
                problems = [error.message for error in validator.iter_errors(example)]
                assert problems == [], (name, example)
                checked += 1
    assert checked > 50


def test_an_error_is_documented_by_being_written() -> None:
    for kind in openapi.leaves():
        example = openapi.error_examples(kind.status)[kind.code]
        assert example["value"]["error"]["code"] == kind.code
        assert example["summary"].endswith(".")
        assert "`" not in example["summary"]
    assert ServiceError not in openapi.leaves()


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found
