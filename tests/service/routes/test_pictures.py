"""Encode, decode and reconstruct against a live server: what comes back, and what is refused how."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from service.engine.operations.reconstruct import psnr
from tests.service.codecs.test_reading import png_claiming
from tests.service.conftest import Server, as_file, as_pixels, picture
from tests.service.routes.conftest import Busy


def encoded(server: Server, pixels: np.ndarray, query: str = "") -> httpx.Response:
    answer = server.post(f"/v1/encode{query}", content=as_file(pixels))
    assert answer.status_code == 200, answer.text
    return answer


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error's facts, after checking the one shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"]["code"] == code
    assert {"message", "param"} <= body["error"].keys()
    assert len(body["error"]["message"]) > 20
    return dict(body["error"])


@pytest.mark.parametrize("size", [(32, 32), (61, 45), (1, 1), (3, 200)])
def test_encode_then_decode_is_reconstruct(server: Server, size: tuple[int, int]) -> None:
    pixels = picture(*size)
    latent = encoded(server, pixels)
    decoded = server.post("/v1/decode", content=latent.content)
    back = as_pixels(decoded.content)
    assert back.shape == pixels.shape
    told = server.post("/v1/reconstruct", content=as_file(pixels))
    assert told.headers["x-tessera-psnr"] == pytest.approx(f"{psnr(pixels, back):.4f}")
    assert abs(float(told.headers["x-tessera-psnr"]) - psnr(pixels, back)) < 0.05
    assert as_pixels(told.content).shape == pixels.shape


def test_every_format_and_way_of_sending_gives_the_same_latent(server: Server) -> None:
    pixels = picture(61, 45)
    z = load(encoded(server, pixels).content)["z"]
    assert z.shape == (1, 8, 16, 12)
    assert z.dtype == np.float32
    npy = encoded(server, pixels, "?format=npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.content)), z)
    form = server.post("/v1/encode", files={"file": ("a.png", as_file(pixels), "image/png")})
    np.testing.assert_array_equal(load(form.content)["z"], z)
    chunked = server.post("/v1/encode", content=iter([as_file(pixels)[:100], as_file(pixels)[100:]]))
    np.testing.assert_array_equal(load(chunked.content)["z"], z)
    headers = {name: npy.headers[name] for name in ("x-tessera-size", "x-tessera-spec")}
    first = server.post("/v1/decode?output=npy", content=npy.content, headers=headers)
    second = server.post("/v1/decode?output=npy", content=encoded(server, pixels).content)
    np.testing.assert_array_equal(np.load(io.BytesIO(first.content)), np.load(io.BytesIO(second.content)))


def test_headers_tell_sizes_spec_batch_and_time(server: Server) -> None:
    pixels = picture(61, 45)
    for path in ("/v1/encode", "/v1/encode?format=png", "/v1/reconstruct"):
        headers = server.post(path, content=as_file(pixels)).headers
        assert headers["x-tessera-size"] == "61,45"
        assert headers["x-tessera-spec"] == server.get("/v1/models").json()["data"][0]["spec_id"]
        assert headers["x-tessera-source-bytes"] == str(len(as_file(pixels)))
        assert headers["x-tessera-pixel-bytes"] == str(61 * 45 * 3)
        assert headers["x-tessera-latent-bytes"] == str(8 * 16 * 12 * 2)
        assert headers["x-batch-size"] == "1"
        assert all(
            f"{stage};dur=" in headers["server-timing"] for stage in ("queue", "before", "core", "after")
        )


@pytest.mark.parametrize("output", ["png", "jpeg", "webp", "avif", "raw"])
def test_outputs(server: Server, output: str) -> None:
    pixels = picture(40, 24)
    lossless = np.load(io.BytesIO(server.post("/v1/reconstruct?output=npy", content=as_file(pixels)).content))
    answer = server.post(f"/v1/reconstruct?output={output}", content=as_file(pixels))
    if output == "raw":
        assert answer.headers["x-tessera-shape"] == "40,24,3"
        assert answer.content == lossless.tobytes()
        return
    assert answer.headers["content-type"] == f"image/{output}"
    back = as_pixels(answer.content)
    assert psnr(back, lossless) > (
        25 if output in ("jpeg", "avif") else 1000
    )  # infinite where nothing is lost


def test_models_are_chosen_by_name(server: Server) -> None:
    pixels = picture(32, 32)
    first, second = encoded(server, pixels), encoded(server, pixels, "?model=other")
    assert first.headers["x-tessera-spec"] != second.headers["x-tessera-spec"]
    assert first.content == encoded(server, pixels, "?model=tiny").content
    refused(server.post("/v1/decode", content=second.content), 422, "wrong_spec")
    assert server.post("/v1/decode?model=other", content=second.content).status_code == 200


def test_the_latent_as_a_picture(server: Server) -> None:
    pixels = picture(61, 45)
    assert as_pixels(encoded(server, pixels, "?format=png").content).shape == (16, 12, 3)
    assert as_pixels(encoded(server, pixels, "?format=png&view=channels").content).shape[:2] == (50, 38)


def test_indices_out_and_back(server: Server) -> None:
    """Codes instead of the latent: fewer bytes, and the same picture but for the last bit of a float."""
    pixels = picture(61, 45)
    answer = encoded(server, pixels, "?model=codes&what=indices")
    indices = load(answer.content)["indices"]
    assert (indices.shape, indices.dtype) == ((1, 16, 12), np.uint16)
    assert indices.max() < 3**8
    assert answer.headers["x-tessera-latent-bytes"] == str(math.ceil(16 * 12 * 8 * math.log2(3) / 8))
    told = server.post("/v1/reconstruct?model=codes&output=npy", content=as_file(pixels))
    expected = np.load(io.BytesIO(told.content)).astype(int)
    npy = encoded(server, pixels, "?model=codes&what=indices&format=npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.content)), indices)
    headers = {name: npy.headers[name] for name in ("x-tessera-size", "x-tessera-spec")}
    for body, more in ((answer.content, {}), (npy.content, headers)):
        decoded = server.post("/v1/decode?model=codes&output=npy", content=body, headers=more)
        assert decoded.status_code == 200, decoded.text
        assert np.abs(np.load(io.BytesIO(decoded.content)) - expected).max() <= 1
    assert as_pixels(encoded(server, pixels, "?model=codes&what=indices&format=png").content).shape == (
        16,
        12,
        3,
    )
    z = encoded(server, pixels, "?model=codes").content
    assert np.abs(as_pixels(server.post("/v1/decode?model=codes", content=z).content) - expected).max() <= 1


def test_several_samples_of_indices_decode_to_json(server: Server) -> None:
    answer = encoded(server, picture(32, 32), "?model=codes&what=indices")
    indices = np.repeat(load(answer.content)["indices"], 3, axis=0)
    meta = {"size": "32,32", "spec_id": answer.headers["x-tessera-spec"]}
    for dtype in (np.uint16, np.int64):
        body = save({"indices": indices.astype(dtype)}, meta)
        assert len(server.post("/v1/decode?model=codes", content=body).json()["data"]) == 3


def test_refused_indices(server: Server) -> None:
    facts = refused(server.post("/v1/encode?what=indices", content=PNG), 422, "no_indices")
    assert facts["param"] == "what"
    assert "continuous" in facts["message"]
    models = {model["name"]: model for model in server.get("/v1/models").json()["data"]}

    def send(indices: np.ndarray, model: str = "codes", size: str = "32,32") -> httpx.Response:
        body = save({"indices": indices}, {"size": size, "spec_id": models[model]["spec_id"]})
        return server.post(f"/v1/decode?model={model}", content=body)

    good = np.zeros((1, 8, 8), np.uint16)
    assert send(good).status_code == 200
    refused(send(good, "tiny"), 422, "no_indices")
    refused(send(good, size="36,32"), 422, "wrong_shape")
    refused(send(good + 3**8), 422, "index_out_of_range")
    refused(send(good.astype(np.int32) - 1), 422, "index_out_of_range")
    refused(send(good.astype(np.float32)), 422, "wrong_dtype")
    refused(
        server.post(
            "/v1/decode", content=encoded(server, picture(9, 9), "?model=codes&what=indices").content
        ),
        422,
        "wrong_spec",
    )
    refused(server.post("/v1/encode?what=codes", content=PNG), 422, "invalid_parameter")


def test_several_samples_decode_to_json(server: Server) -> None:
    latent = encoded(server, picture(32, 32))
    z = np.repeat(load(latent.content)["z"], 3, axis=0)
    meta = {"size": "32,32", "spec_id": latent.headers["x-tessera-spec"]}
    answer = server.post("/v1/decode", content=save({"z": z}, meta)).json()
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    refused(server.post("/v1/decode", content=save({"z": np.repeat(z, 3, axis=0)}, meta)), 422, "wrong_shape")


def test_what_queues_while_the_worker_is_busy_shares_passes(server: Server, busy: Busy) -> None:
    """In the bucket that they all ask for; each gets the bytes that it gets alone."""
    body, pinned = as_file(picture(32, 32)), {"x-batch-bucket": "8"}
    alone = server.post("/v1/encode", content=body, headers=pinned).content

    def ask(_: int) -> httpx.Response:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            return client.post("/v1/encode", content=body, headers=pinned)

    with busy(server), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    sizes = [int(answer.headers["x-batch-size"]) for answer in answers]
    assert 1 < max(sizes) <= 8
    for answer in answers:
        assert answer.headers["x-batch-bucket"] == "8"
        assert answer.content == alone


def test_the_http_process_answers_while_the_worker_is_busy(server: Server, busy: Busy) -> None:
    with busy(server):
        assert server.get("/health/live").json() == {"status": "alive"}
        assert server.get("/health/ready").json() == {"status": "ready"}
        refused(server.post("/v1/encode", content=b"no picture"), 415, "not_an_image")


PNG = as_file(picture(64, 64))


@pytest.mark.parametrize("path", ["/v1/encode", "/v1/reconstruct"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"hello", 415, "not_an_image"),
        (PNG[:20], 400, "truncated_image"),
        (PNG[: len(PNG) // 2], 400, "truncated_image"),
        (png_claiming(100_000, 100_000), 413, "too_many_pixels"),
        (as_file(np.zeros((1, 100_000, 3), np.uint8)), 413, "too_many_pixels"),
        (b"x" * (2**20 + 1), 413, "body_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refused_pictures(server: Server, path: str, body: bytes, status: int, code: str) -> None:
    refused(server.post(path, content=body), status, code)
    assert server.post(path, content=PNG).status_code == 200


def broken(**changes: Any) -> bytes:
    """A latent of 32x32 pixels for the shared server, with something wrong."""
    z = changes.get("z", np.zeros((1, 8, 8, 8), np.float32))
    meta = {"size": "32,32", "spec_id": "?"} | changes.get("meta", {})
    return save({changes.get("name", "z"): z}, {name: text for name, text in meta.items() if text})


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"meta": {"spec_id": None}}, 422, "missing_metadata"),
        ({"meta": {"size": None}}, 422, "missing_metadata"),
        ({"meta": {"spec_id": "0" * 16}}, 422, "wrong_spec"),
        ({"meta": {"size": "36,32"}}, 422, "wrong_shape"),
        ({"meta": {"size": "99999,99999"}}, 413, "too_many_pixels"),
        ({"z": np.zeros((1, 7, 8, 8), np.float32)}, 422, "wrong_shape"),
        ({"name": "y"}, 422, "wrong_shape"),
        ({"z": np.zeros((1, 8, 8, 8), np.float64)}, 422, "wrong_dtype"),
        ({"z": np.zeros((1, 8, 8, 8), np.uint8)}, 422, "wrong_dtype"),
        ({"z": np.full((1, 8, 8, 8), math.nan, np.float32)}, 422, "not_finite"),
        ({"z": np.full((1, 8, 8, 8), math.inf, np.float32)}, 422, "not_finite"),
    ],
)
def test_refused_latents(server: Server, changes: dict[str, Any], status: int, code: str) -> None:
    spec_id = server.get("/v1/models").json()["data"][0]["spec_id"]
    meta = {"spec_id": spec_id} | changes.get("meta", {})
    refused(server.post("/v1/decode", content=broken(**(changes | {"meta": meta}))), status, code)


def test_refused_latents_that_are_none(server: Server) -> None:
    good = encoded(server, picture(32, 32)).content
    for body in (b"hello", good[:-1], good + b"\0", PNG):
        refused(server.post("/v1/decode", content=body), 400, "not_a_tensor")
    npy = encoded(server, picture(32, 32), "?format=npy").content
    refused(server.post("/v1/decode", content=npy), 422, "missing_metadata")


def test_refused_parameters(server: Server) -> None:
    refused(server.post("/v1/encode?model=gone", content=PNG), 404, "unknown_model")
    for query, name in (("format=gif", "format"), ("fromat=npy", "fromat"), ("view=x", "view")):
        assert (
            refused(server.post(f"/v1/encode?{query}", content=PNG), 422, "invalid_parameter")["param"]
            == name
        )
    long = as_file(np.zeros((1, 20_000, 3), np.uint8))
    assert (
        refused(server.post("/v1/reconstruct?output=webp", content=long), 422, "invalid_parameter")["param"]
        == "output"
    )


def test_refused_forms(server: Server) -> None:
    facts = refused(server.post("/v1/encode", files={"picture": PNG}), 400, "bad_form")
    assert "'picture'" in facts["message"]
