"""Requests are closed: unknown and mistyped fields are refused, not guessed."""

import pytest
from pydantic import ValidationError

from service.schemas import MAX_SEED, EncodeQuery, GenerateRequest


def test_a_label_is_enough() -> None:
    asked = GenerateRequest.model_validate_json('{"label": "star"}')
    assert (asked.num_images, asked.seed, asked.size, asked.output) == (1, None, None, "png")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"label": true}',
        '{"label": 1.5}',
        '{"label": null}',
        '{"label": 0, "steps": 5}',
        '{"label": 0, "num_images": 0}',
        '{"label": 0, "num_images": "2"}',
        '{"label": 0, "num_steps": 0}',
        '{"label": 0, "seed": -1}',
        f'{{"label": 0, "seed": {MAX_SEED + 1}}}',
        '{"label": 0, "guidance": NaN}',
        '{"label": 0, "guidance": -1}',
        '{"label": 0, "size": [32]}',
        '{"label": 0, "size": "32x32"}',
        '{"label": 0, "output": "gif"}',
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate_json(text)


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ValidationError):
        EncodeQuery.model_validate({"fromat": "npy"})
