"""Answers and events as OpenAI's clients read them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from service.engine.messages import GenerateJob
from service.openai.answers import completed_events, images_answer, partial_event
from service.openai.schemas import ImagesRequest
from tests.service.conftest import as_file, picture

JOB = GenerateJob(
    id=1, model="shapes", cost=1, submitted_at=0.0, label=0, num_images=1, num_steps=4, guidance=1.0, seed=7,
    size=(32, 48), output="webp", quality=80,
)  # fmt: skip
ASKED = ImagesRequest(prompt="circle", output_format="webp", output_compression=80, quality="high")
SEVERAL = json.dumps({"data": [{"index": 0, "b64": "QQ=="}, {"index": 1, "b64": "Qg=="}]}).encode()


def parsed(text: bytes) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.split("\n") for block in text.decode().split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


@pytest.mark.parametrize(
    ("body", "media_type", "pictures"),
    [(b"A", "image/webp", ["QQ=="]), (SEVERAL, "application/json", ["QQ==", "Qg=="])],
)
def test_one_raw_picture_and_several_in_json_come_out_alike(
    body: bytes, media_type: str, pictures: list[str]
) -> None:
    answer = json.loads(images_answer(ASKED, JOB, body, media_type))
    assert [item["b64_json"] for item in answer["data"]] == pictures
    assert (answer["size"], answer["output_format"], answer["quality"]) == ("48x32", "webp", "high")
    assert (answer["seed"], answer["usage"]["total_tokens"]) == (7, 0)
    events = parsed(completed_events("image_edit", ASKED, JOB, body, media_type))
    assert [facts["b64_json"] for _, facts in events] == pictures
    assert all(name == facts["type"] == "image_edit.completed" for name, facts in events)


def test_a_partial_image_has_the_size_and_format_asked_for() -> None:
    preview = as_file(picture(4, 6), "JPEG")
    ((name, facts),) = parsed(partial_event("image_generation", ASKED, JOB, preview, 1))
    assert name == facts["type"] == "image_generation.partial_image"
    assert (facts["partial_image_index"], facts["size"], facts["output_format"]) == (1, "48x32", "webp")
    with Image.open(io.BytesIO(base64.b64decode(facts["b64_json"]))) as image:
        assert (image.format, image.size) == ("WEBP", (48, 32))
