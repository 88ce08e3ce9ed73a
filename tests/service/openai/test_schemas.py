"""What OpenAI's requests may hold, and what of it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import InvalidParameter
from service.openai.schemas import EditsRequest, ImagesRequest


def test_numbers_may_come_as_text() -> None:
    fields = {
        "prompt": "3",
        "n": "2",
        "strength": "0.25",
        "stream": "true",
        "seed": "7",
        "num_inference_steps": "5",
    }
    asked = EditsRequest.model_validate(fields | {"guidance_scale": "1.5"})
    assert (asked.n, asked.strength, asked.stream, asked.seed) == (2, 0.25, True, 7)
    assert (asked.num_steps, asked.guidance) == (5, 1.5)


def test_null_is_left_out() -> None:
    names = [name for name in ImagesRequest.model_fields if name != "prompt"]
    assert ImagesRequest.model_validate({"prompt": "hat"} | dict.fromkeys(names)) == ImagesRequest(
        prompt="hat"
    )


@pytest.mark.parametrize(
    ("size", "pixels"), [(None, None), ("auto", None), ("256x128", (128, 256)), ("1x99999", (99999, 1))]
)
def test_a_size_is_width_by_height(size: str | None, pixels: tuple[int, int] | None) -> None:
    assert ImagesRequest(prompt="hat", size=size).pixels == pixels


@pytest.mark.parametrize("size", ["256", "256X256", "0x8", "-1x8", "256x256x3", "999999x1", "² x8", ""])
def test_other_sizes_are_refused(size: str) -> None:
    with pytest.raises(InvalidParameter, match="256x256"):
        _ = ImagesRequest(prompt="hat", size=size).pixels


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"response_format": "url"}, "response_format"),
        ({"background": "transparent"}, "background"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 50, "output_format": "png"}, "output_compression"),
        ({"partial_images": 2}, "partial_images"),
    ],
)
def test_what_is_not_served_is_said(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidParameter) as failure:
        ImagesRequest.model_validate({"prompt": "hat"} | asked).refuse_what_is_not_served()
    assert failure.value.param == param
    assert param in failure.value.message


def test_what_has_no_effect_is_taken() -> None:
    asked = {"quality": "hd", "style": "vivid", "moderation": "low", "user": "u", "background": "auto"}
    more = {
        "response_format": "b64_json",
        "output_format": "webp",
        "output_compression": 0,
        "partial_images": 0,
    }
    ImagesRequest.model_validate({"prompt": "hat"} | asked | more).refuse_what_is_not_served()


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": ""},
        {"n": 0},
        {"partial_images": 4},
        {"output_compression": 101},
        {"output_format": "gif"},
        {"seed": -1},
        {"guidance": float("nan")},
        {"strength": 1.5},
        {"frames": 3},
    ],
)
def test_the_rest_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EditsRequest.model_validate({"prompt": "hat"} | asked)
