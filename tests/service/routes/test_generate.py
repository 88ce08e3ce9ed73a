"""Generate against a live server: seeds, several pictures, latents, and refusals."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from tests.service.conftest import CLASS_NAMES, Server, as_pixels
from tests.service.routes.conftest import BUSY
from tests.service.routes.test_metrics import scrape
from tests.service.routes.test_pictures import refused


def generate(server: Server, **asked: Any) -> httpx.Response:
    return server.post("/v1/generate", json={"label": 1} | asked)


def test_the_same_seed_gives_the_same_bytes(server: Server) -> None:
    first = generate(server, seed=7)
    assert first.headers["content-type"] == "image/png"
    assert first.headers["x-tessera-seed"] == "7"
    assert first.headers["x-tessera-size"] == "32,32"
    assert as_pixels(first.content).shape == (32, 32, 3)
    assert generate(server, seed=7).content == first.content
    assert generate(server, seed=8).content != first.content


def test_without_a_seed_one_is_drawn_and_told(server: Server) -> None:
    first, second = generate(server), generate(server, seed=None)
    assert first.headers["x-tessera-seed"] != second.headers["x-tessera-seed"]
    again = generate(server, seed=int(first.headers["x-tessera-seed"]))
    assert again.content == first.content


def test_names_and_indices_are_the_same_classes(server: Server) -> None:
    by_index = [generate(server, label=label, seed=7).content for label in range(3)]
    assert [generate(server, label=name, seed=7).content for name in CLASS_NAMES] == by_index
    assert len(set(by_index)) == 3


def test_several_come_as_json(server: Server) -> None:
    answer = generate(server, num_images=3, seed=7, output="webp")
    body = answer.json()
    assert (body["seed"], body["size"], body["media_type"]) == (7, [32, 32], "image/webp")
    assert answer.headers["x-tessera-seed"] == "7"
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert all(as_pixels(base64.b64decode(item["b64"])).shape == (32, 32, 3) for item in body["data"])


def test_latents_decode_to_the_pictures(server: Server) -> None:
    pixels = np.load(io.BytesIO(generate(server, num_images=2, seed=7, output="npy").content))
    latent = generate(server, num_images=2, seed=7, output="latent")
    assert load(latent.content)["z"].shape == (2, 8, 8, 8)
    decoded = server.post("/v1/decode?output=npy", content=latent.content)
    assert np.abs(np.load(io.BytesIO(decoded.content)).astype(int) - pixels).max() <= 1


def test_left_out_means_the_models_own(server: Server) -> None:
    model = server.get("/v1/models").json()["data"][-1]
    spelt = {"num_steps": model["num_steps"], "guidance": model["guidance"], "size": model["sizes"][0]}
    assert generate(server, seed=7).content == generate(server, seed=7, model="shapes", **spelt).content
    assert generate(server, seed=7, num_steps=5).content != generate(server, seed=7).content


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"label": 3}, 422, "unknown_label", "label"),
        ({"label": "squircle"}, 422, "unknown_label", "label"),
        ({"model": "tiny"}, 404, "unknown_model", "model"),
        ({"size": [64, 64]}, 422, "wrong_size", "size"),
        ({"num_images": 9}, 422, "invalid_parameter", "num_images"),
        ({"num_steps": 251}, 422, "invalid_parameter", "num_steps"),
        ({"guidance": 21}, 422, "invalid_parameter", "guidance"),
        ({"seed": -1}, 422, "invalid_parameter", "seed"),
        ({"steps": 3}, 422, "invalid_parameter", "steps"),
        ({"output": "gif"}, 422, "invalid_parameter", "output"),
    ],
)
def test_refusals(server: Server, asked: dict[str, Any], status: int, code: str, param: str) -> None:
    assert refused(generate(server, **asked), status, code)["param"] == param


def test_a_size_it_cannot_make_lists_those_it_can(server: Server) -> None:
    facts = refused(generate(server, size=[64, 64]), 422, "wrong_size")
    assert facts["sizes"] == [[32, 32]]
    assert "[32, 32]" in facts["message"]


def streamed(server: Server, **asked: Any) -> list[tuple[str, dict[str, Any]]]:
    """Events by name, comments left out."""
    with server.client.stream("POST", "/v1/generate", json={"label": 1, "stream": True} | asked) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    events = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


def test_a_stream_tells_the_steps_and_ends_with_what_would_have_been_answered(server: Server) -> None:
    events = streamed(server, seed=7, num_steps=4, num_images=2)
    names = [name for name, _ in events]
    assert names[-1] == "result"
    assert set(names[:-1]) <= {"progress", "preview"}
    assert "progress" in names
    steps = [facts["step"] for name, facts in events if name == "progress"]
    assert steps == sorted(set(steps))
    assert all(1 <= step <= facts["num_steps"] == 4 for step, (_, facts) in zip(steps, events, strict=False))
    plain = generate(server, seed=7, num_steps=4, num_images=2).json()
    result = events[-1][1]
    assert plain.items() <= result.items()
    assert result["batch_size"] >= 1


def test_a_stream_of_one_picture_or_of_latents_has_the_same_bytes(server: Server) -> None:
    for output in ("webp", "latent"):
        ((name, result),) = streamed(server, seed=3, output=output, previews=False, progress_every=250)[-1:]
        assert (name, result["seed"], result["size"]) == ("result", 3, [32, 32])
        assert base64.b64decode(result["data"][0]["b64"]) == generate(server, seed=3, output=output).content


def test_a_stream_refuses_with_a_status(server: Server) -> None:
    refused(generate(server, stream=True, label="squircle"), 422, "unknown_label")
    refused(generate(server, stream="yes"), 422, "invalid_parameter")


def first_news(answer: httpx.Response) -> Iterator[str]:
    """Lines of a stream, the first of which has come: the job runs."""
    lines = answer.iter_lines()
    assert next(lines) == "event: progress"
    return lines


def test_a_stream_ends_with_an_error_when_its_request_is_cancelled(server: Server) -> None:
    asked = BUSY | {"stream": True, "previews": False}
    named = {"x-request-id": "stream-to-cancel"}
    with server.client.stream("POST", "/v1/generate", json=asked, headers=named) as answer:
        lines = first_news(answer)
        with httpx.Client(base_url=server.url) as other:
            assert other.delete("/v1/requests/stream-to-cancel").json()["cancelled"]
        *_, name, data = [line for line in lines if line]
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "cancelled"


def test_a_client_that_leaves_its_stream_ends_the_work(server: Server) -> None:
    def ended() -> float:
        return scrape(server.get("/metrics").text).get("tessera_cancelled_total{phase=running}", 0.0)

    before = ended()
    with server.client.stream("POST", "/v1/generate", json=BUSY | {"stream": True}) as answer:
        first_news(answer)
    deadline = time.monotonic() + 60
    while ended() == before:
        assert time.monotonic() < deadline, "nobody noticed that the client has gone"
        time.sleep(0.05)


def test_other_bodies(server: Server) -> None:
    refused(server.post("/v1/generate", content=b"{"), 422, "invalid_parameter")
    refused(server.post("/v1/generate", content=b""), 400, "empty_body")
    refused(server.post("/v1/generate", content=b" " * 70_000), 413, "body_too_large")
