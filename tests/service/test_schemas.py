"""Requests are closed: unknown and mistyped fields are refused, not guessed."""

import pytest
from pydantic import ValidationError

from service.schemas import MAX_SEED, EncodeQuery, GenerateRequest, RemoteDecodeQuery


def test_a_label_is_enough() -> None:
    asked = GenerateRequest.model_validate_json('{"label": "star"}')
    assert (asked.num_images, asked.seed, asked.size, asked.output) == (1, None, None, "png")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"label": true}',
        '{"label": 1.5}',
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


def test_what_diffusers_clients_write_is_read() -> None:
    """Capitalised booleans, numbers as text, a list of one."""
    asked = RemoteDecodeQuery.model_validate(
        {
            "shape": ["4"],
            "dtype": "bfloat16",
            "partial_postprocess": "True",
            "do_scaling": "False",
            "height": "64",
        }
    )
    assert (asked.shape, asked.partial_postprocess, asked.do_scaling, asked.height) == ([4], True, False, 64)


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [-1]},
        {"shape": [2**31]},
        {"shape": [1] * 7},
        {"dtype": "float64"},
        {"scaling_factor": 0},
        {"scaling_factor": "inf"},
        {"shift_factor": "nan"},
        {"output_type": "webm"},
        {"image_format": "webp"},
        {"input_tensor_type": "base64"},
        {"height": 0},
        {"tiling": True},
    ],
)
def test_other_remote_parameters_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RemoteDecodeQuery.model_validate(fields)
