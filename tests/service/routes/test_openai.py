"""The unmodified openai package against a running server, and its errors against an application in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from PIL import Image

from service.app import create_app
from service.engine.messages import Progress
from service.errors import BadForm, InvalidParameter
from service.routes.openai import Partials, files_of
from service.settings import Settings
from service.sse import Events
from tests.service.conftest import CLASS_NAMES, Server, as_file, as_pixels, models_setting, picture


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def pixels(answer: Any) -> list[np.ndarray]:
    return [as_pixels(base64.b64decode(item.b64_json)) for item in answer.data]


def kind(text: str | None) -> str | None:
    with Image.open(io.BytesIO(base64.b64decode(text or ""))) as image:
        return image.format


def test_generations_are_those_of_our_own_route(client: openai.OpenAI, server: Server) -> None:
    before = time.time()
    answer = client.images.generate(
        prompt="square", model="shapes", n=2, size="32x32", extra_body={"seed": 7}
    )
    ours = server.post("/v1/generate", json={"label": "square", "num_images": 2, "seed": 7}).json()
    assert [item.b64_json for item in answer.data or []] == [item["b64"] for item in ours["data"]]
    assert (answer.size, answer.output_format, answer.background) == ("32x32", "png", "opaque")
    assert before - 1 <= answer.created <= time.time() + 1
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    assert answer.model_extra == {"seed": 7}


def test_a_class_is_named_or_counted(client: openai.OpenAI) -> None:
    same = [
        client.images.generate(
            prompt=prompt, extra_body={"seed": 3, "num_inference_steps": 2, "guidance_scale": 1.5}
        )
        for prompt in (CLASS_NAMES[1], "1")
    ]
    assert np.array_equal(pixels(same[0])[0], pixels(same[1])[0])


def test_formats_and_compression(client: openai.OpenAI) -> None:
    lengths = {}
    for fmt in ("jpeg", "webp"):
        for quality in (5, 95):
            answer = client.images.generate(
                prompt="0",
                output_format=fmt,
                output_compression=quality,
                quality="high",
                extra_body={"seed": 1},  # type: ignore[arg-type]  # a loop widens the literal
            )
            text = (answer.data or [])[0].b64_json
            assert kind(text) == fmt.upper()
            lengths[fmt, quality] = len(text or "")
        assert lengths[fmt, 5] < lengths[fmt, 95]
    assert (
        kind((client.images.generate(prompt="0", response_format="b64_json").data or [])[0].b64_json) == "PNG"
    )


def test_a_stream_shows_partial_images_and_ends_with_the_picture(client: openai.OpenAI) -> None:
    asked: Any = {"prompt": "star", "output_format": "webp", "extra_body": {"seed": 5, "num_steps": 9}}
    # A preview is left out while another one is being made, so a busy machine may show fewer.
    for _ in range(50):
        events = list(client.images.generate(stream=True, partial_images=2, **asked))
        assert {event.type for event in events[:-1]} <= {"image_generation.partial_image"}
        assert events[-1].type == "image_generation.completed"
        if len(events) == 3:
            break
    assert len(events) == 3
    assert [event.partial_image_index for event in events[:-1]] == [0, 1]
    whole = client.images.generate(**asked)
    assert events[-1].b64_json == (whole.data or [])[0].b64_json
    assert events[-1].usage.total_tokens == 0
    shown = [as_pixels(base64.b64decode(event.b64_json)) for event in events]
    assert {image.shape for image in shown} == {(32, 32, 3)}
    assert not np.array_equal(shown[0], shown[1])
    assert {kind(event.b64_json) for event in events} == {"WEBP"}


def test_without_partial_images_a_stream_is_the_pictures(client: openai.OpenAI) -> None:
    events = list(client.images.generate(prompt="2", n=2, stream=True, extra_body={"seed": 5}))
    whole = client.images.generate(prompt="2", n=2, extra_body={"seed": 5})
    assert {event.type for event in events} == {"image_generation.completed"}
    assert [event.b64_json for event in events] == [item.b64_json for item in whole.data or []]


def edit(client: openai.OpenAI, image: bytes, mask: bytes | None = None, **asked: Any) -> list[np.ndarray]:
    files: dict[str, Any] = {} if mask is None else {"mask": ("mask.png", mask)}
    return pixels(client.images.edit(image=("image.png", image), prompt="circle", **files, extra_body=asked))


def test_strength_goes_from_the_reconstruction_to_a_new_picture(
    client: openai.OpenAI, server: Server
) -> None:
    original = picture(32, 32, seed=4)
    image = as_file(original)
    kept = as_pixels(server.post("/v1/reconstruct", content=image).content)
    new = pixels(client.images.generate(prompt="circle", extra_body={"seed": 9}))[0]
    ends = [edit(client, image, strength=strength, seed=9)[0].astype(int) for strength in (0.0, 0.5, 1.0)]
    assert np.abs(ends[0] - kept).max() <= 1
    assert np.abs(ends[2] - new).max() <= 1
    assert np.abs(ends[1] - kept).max() > 1
    assert np.abs(ends[1] - new).max() > 1


def test_only_what_the_mask_leaves_transparent_is_made_anew(client: openai.OpenAI) -> None:
    image = as_file(picture(32, 32, seed=4))
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[:, 13:] = 0
    mask = as_file(np.dstack([np.zeros((32, 32, 3), np.uint8), alpha]))
    kept = edit(client, image, strength=0.0)[0].astype(int)
    (masked,) = edit(client, image, mask, strength=0.9, seed=1)
    assert np.abs(masked[:, :13] - kept[:, :13]).max() <= 1
    assert np.abs(masked[:, 13:] - kept[:, 13:]).max() > 1


def test_edits_take_any_size_and_stream(client: openai.OpenAI) -> None:
    image = as_file(picture(50, 41), "JPEG")
    answer = client.images.edit(image=[("a.jpg", image)], prompt="1", n=2, size="auto", input_fidelity="high")
    assert [shown.shape for shown in pixels(answer)] == [(32, 32, 3)] * 2
    asked: Any = {"image": ("a.jpg", image), "prompt": "1", "extra_body": {"seed": 2, "num_steps": 12}}
    events = list(client.images.edit(stream=True, partial_images=1, **asked))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert events[-1].b64_json == (client.images.edit(**asked).data or [])[0].b64_json


def test_a_picture_that_turns_out_damaged_is_told_on_the_way(client: openai.OpenAI) -> None:
    damaged = as_file(picture(50, 41))[:-400]
    with pytest.raises(openai.BadRequestError) as whole:
        client.images.edit(image=damaged, prompt="1")
    assert whole.value.code == "truncated_image"
    with pytest.raises(openai.APIError, match="cut short or damaged"):
        list(client.images.edit(image=damaged, prompt="1", stream=True))


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"prompt": "squircle"}, openai.BadRequestError, "prompt"),
        ({"prompt": "9" * 9000}, openai.BadRequestError, "prompt"),
        ({"prompt": "3"}, openai.BadRequestError, "prompt"),
        ({"model": "gpt-image-2"}, openai.NotFoundError, "model"),
        ({"size": "64x64"}, openai.BadRequestError, "size"),
        ({"size": "big"}, openai.BadRequestError, "size"),
        ({"n": 9}, openai.BadRequestError, "n"),
        ({"n": 0}, openai.BadRequestError, "n"),
        ({"response_format": "url"}, openai.BadRequestError, "response_format"),
        ({"background": "transparent"}, openai.BadRequestError, "background"),
        ({"extra_body": {"steps": 3}}, openai.BadRequestError, "steps"),
        ({"extra_body": {"num_steps": 251}}, openai.BadRequestError, "num_steps"),
        ({"stream": True, "size": "64x64"}, openai.BadRequestError, "size"),
    ],
)
def test_refusals(
    client: openai.OpenAI, asked: dict[str, Any], error: type[openai.APIStatusError], param: str
) -> None:
    with pytest.raises(error) as refused:
        client.images.generate(**({"prompt": "0"} | asked))
    facts: Any = refused.value.body
    assert (facts["param"], facts["type"]) == (param, "invalid_request_error")
    assert facts["code"]
    assert len(facts["message"].split()) > 3


def test_refusals_of_edits(client: openai.OpenAI) -> None:
    image, mask = as_file(picture(20, 20)), as_file(picture(20, 21))
    for asked, param in (
        ({"image": image, "mask": mask}, "mask"),
        ({"image": [image, image]}, "image"),
        ({"image": image, "extra_body": {"strength": 2}}, "strength"),
        ({"image": image, "prompt": "squircle"}, "prompt"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.edit(**({"prompt": "0"} | asked))  # type: ignore[call-overload]  # keywords from a table
        assert refused.value.param == param
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=b"no picture at all", prompt="0")
    assert refused.value.code == "not_an_image"


def failure(settings: Settings, key: str, asks: int = 1, **asked: Any) -> openai.APIStatusError:
    """The error of the last of several requests to an application whose worker is never started."""
    app = create_app(settings)

    async def course() -> openai.APIStatusError:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport) as http:
            client = openai.AsyncOpenAI(
                base_url="http://test/v1", api_key=key, max_retries=0, http_client=http
            )
            for _ in range(asks):
                with pytest.raises(openai.APIStatusError) as refused:
                    await client.images.generate(**({"prompt": "0"} | asked))
            return refused.value

    return asyncio.run(course())


def test_keys_rates_and_readiness_are_the_errors_that_clients_know(models: dict[str, Path]) -> None:
    known: Any = {"models": models_setting(models), "api_keys": "alpha"}
    refused = failure(Settings(**known), "beta")
    assert isinstance(refused, openai.AuthenticationError)
    assert (refused.code, refused.type) == ("bad_key", "authentication_error")
    loading = failure(Settings(**known), "alpha")
    assert isinstance(loading, openai.InternalServerError)
    assert (loading.code, loading.status_code) == ("not_ready", 503)
    limited = failure(Settings(**known, requests_per_minute=1), "alpha", asks=2)
    assert isinstance(limited, openai.RateLimitError)
    assert (limited.code, limited.type) == ("rate_limited", "rate_limit_error")
    assert float(limited.response.headers["retry-after-ms"]) > 0


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    listed = client.models.list()
    assert listed.object == "list"
    assert {"tiny", "other", "shapes"} <= {model.id for model in listed}
    assert all(model.object == "model" and model.created > 0 for model in listed)


def test_a_form_is_files_and_text() -> None:
    given, fields = files_of({"image[]": [b"\xff"], "prompt": [b"hat"], "n": [b""], "mask": [b""]})
    assert (given.image, given.mask, fields) == (b"\xff", None, {"prompt": "hat"})
    for form, message in (
        ({"image": [b"1"], "n": [b"1", b"2"]}, "2 times"),
        ({"image": [b"1"], "mask": [b"1", b"2"]}, "2 times"),
        ({"image": [b"1"], "prompt": [b"\xff"]}, "UTF-8"),
    ):
        with pytest.raises(BadForm, match=message):
            files_of(form)
    for images in ({}, {"image": [b"1"], "image[]": [b"2"]}):
        with pytest.raises(InvalidParameter, match="send one picture"):
            files_of({"prompt": [b"hat"], **images})


def test_partial_images_keep_their_order_and_number() -> None:
    async def course() -> list[bytes | None]:
        events = Events()
        pace = iter((0.05, 0.0))

        def write(preview: bytes, index: int) -> bytes:
            time.sleep(next(pace))  # the first takes longer than the second
            return preview + str(index).encode()

        partials = Partials(events, write, 2)
        partials.see(Progress(1, 1, 9))
        for step in (2, 4, 6):
            partials.see(Progress(1, step, 9, b"%d-" % step))
        late = Partials(events, write, 2)
        late.see(Progress(1, 9, 9, b"finished"))
        await partials.told()
        await late.told()
        events.close()
        return [await events.take() for _ in range(3)]

    assert asyncio.run(course()) == [b"2-0", b"4-1", None]
