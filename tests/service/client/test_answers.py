"""Answers as the server sends them -> pictures, reconstructions, models."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.client import answers
from service.client.answers import Pictures, Reply, Told
from service.client.errors import BadAnswer


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def reply(body: bytes, media_type: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(200, {"content-type": media_type, **named}, body)


def several(**more: Any) -> Reply:
    data = [{"index": index, "b64": base64.b64encode(png(pixels(index))).decode()} for index in (1, 0)]
    facts = {"seed": 5, "size": [5, 7], "spec_id": "ab", "media_type": "image/png", "data": data, **more}
    return reply(json.dumps(facts).encode(), "application/json; charset=utf-8")


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_one_picture(kind: str, tmp_path: Path) -> None:
    body, media_type = {"png": (png(pixels()), "image/png"), "npy": (npy(pixels()), "application/x-npy")}[
        kind
    ]
    made = answers.pictures(reply(body, media_type, x_tessera_seed="9"))
    assert len(made) == 1
    assert made.seed == 9
    assert made[0].suffix == f".{kind}"
    np.testing.assert_array_equal(made[0].array(), pixels())
    np.testing.assert_array_equal(np.asarray(made[0].pil()), pixels())
    assert made.save(tmp_path / "a") == [tmp_path / "a"]
    assert (tmp_path / "a").read_bytes() == body


@pytest.mark.parametrize(
    "told",
    [several(), reply(npy(np.stack([pixels(0), pixels(1)])), "application/x-npy")],
    ids=["json", "npy"],
)
def test_several_pictures_in_order(told: Reply, tmp_path: Path) -> None:
    made = answers.pictures(told)
    np.testing.assert_array_equal(made.arrays(), np.stack([pixels(0), pixels(1)]))
    paths = made.save(tmp_path / "a.png")
    assert [path.name for path in paths] == ["a-0.png", "a-1.png"]
    assert len(made[0:2]) == 2


def test_a_stream_tells_in_its_result_what_others_tell_in_headers() -> None:
    made = answers.pictures(several(batch_size=3, batch_bucket=4, timings_ms={"core": 1.5}))
    assert made.told == Told(None, 3, 4, {"core": 1.5})


def test_what_answers_tell() -> None:
    headers = {
        "x-request-id": "abc",
        "x-batch-size": "3",
        "x-batch-bucket": "4",
        "server-timing": "queue;dur=1.50, core;dur=20.00",
    }
    assert Told.of(headers) == Told("abc", 3, 4, {"queue": 1.5, "core": 20.0})
    assert Told.of({}) == Told()


def test_a_reconstruction() -> None:
    sizes = {"x_tessera_source_bytes": "90", "x_tessera_pixel_bytes": "105", "x_tessera_latent_bytes": "8"}
    made = answers.reconstruction(reply(png(pixels()), "image/png", x_tessera_psnr="inf", **sizes))
    assert (made.psnr, made.source_bytes, made.pixel_bytes, made.latent_bytes) == (float("inf"), 90, 105, 8)
    with pytest.raises(BadAnswer, match="psnr"):
        answers.reconstruction(reply(png(pixels()), "image/png", **sizes))


def test_models() -> None:
    row = {"name": "a", "kind": "tokenizer", "default": True, "licence": "CC0-1.0"}
    (model,) = answers.models(reply(json.dumps({"data": [row]}).encode(), "application/json"))
    assert answers.model(reply(json.dumps(row).encode(), "application/json")) == model
    assert (model.name, model.kind, model.default, model.facts["licence"]) == (
        "a",
        "tokenizer",
        True,
        "CC0-1.0",
    )


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"<html>", "text/html"),
        (b"{}", "application/json"),
        (b"no json", "application/json"),
        (b'{"data": [{"index": 0, "b64": "%"}], "media_type": "image/png"}', "application/json"),
        (b"\x93NUMPY", "application/x-npy"),
        (b"", ""),
    ],
)
def test_what_holds_no_picture_is_refused(body: bytes, media_type: str) -> None:
    with pytest.raises(BadAnswer):
        answers.pictures(reply(body, media_type))


def test_what_lists_no_models_is_refused() -> None:
    with pytest.raises(BadAnswer):
        answers.models(reply(b'{"data": [{}]}', "application/json"))


def test_no_pictures_are_no_error() -> None:
    assert len(Pictures(())) == 0
