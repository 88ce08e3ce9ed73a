"""Latents and pictures in every format over HTTP: what goes out in one comes back in any other."""

from __future__ import annotations

import base64
import io
import itertools
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors import torch as library
from safetensors.numpy import load, save

from tests.service.conftest import Server, as_file, as_pixels, picture
from tests.service.routes.test_pictures import refused

PIXELS = np.stack([picture(61, 45, seed) for seed in range(3)])
TOLD = (
    "x-tessera-size",
    "x-tessera-spec",
    "x-tessera-shape",
    "x-tessera-dtype",
    "x-tessera-scale",
    "x-tessera-offset",
)


def encoded(server: Server, query: str = "", **options: Any) -> httpx.Response:
    answer = server.post(f"/v1/encode{query}", **(options or {"content": as_file(PIXELS[0])}))
    assert answer.status_code == 200, answer.text
    return answer


def decoded(server: Server, latent: httpx.Response, query: str = "?output=npy") -> np.ndarray:
    """What a latent decodes to, sent back as it came: the body, and the headers that told about it."""
    headers = {name: latent.headers[name] for name in TOLD if name in latent.headers}
    answer = server.post(f"/v1/decode{query}", content=latent.content, headers=headers)
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content)).astype(int)


@pytest.mark.parametrize(
    ("file_format", "dtype"),
    list(itertools.product(("safetensors", "npy", "raw"), ("float32", "float16", "bfloat16", "uint8"))),
)
def test_every_latent_decodes_as_it_was_told(server: Server, file_format: str, dtype: str) -> None:
    whole = decoded(server, encoded(server))
    answer = encoded(server, f"?format={file_format}&dtype={dtype}")
    bits = {"float32": 32, "float16": 16, "bfloat16": 16, "uint8": 8}[dtype]
    if file_format == "raw":
        assert len(answer.content) == 8 * 16 * 12 * bits // 8
        assert answer.headers["x-tessera-shape"] == "1,8,16,12"
    difference = np.abs(decoded(server, answer) - whole)
    assert difference.max() <= {"float32": 0, "float16": 1, "bfloat16": 6, "uint8": 12}[dtype]


def test_half_precision_is_read_by_the_libraries(server: Server) -> None:
    z = library.load(encoded(server).content)["z"]
    for dtype in (torch.float16, torch.bfloat16):
        body = encoded(server, f"?dtype={str(dtype).removeprefix('torch.')}").content
        assert torch.equal(library.load(body)["z"], z.to(dtype))
        back = server.post("/v1/decode", content=body)
        assert back.status_code == 200, back.text


def test_several_pictures_in_every_way_of_sending(server: Server) -> None:
    alone = np.concatenate([load(encoded(server, content=as_file(item)).content)["z"] for item in PIXELS])
    files = [as_file(item) for item in PIXELS]
    inline = [base64.b64encode(file).decode() for file in files]
    out = io.BytesIO()
    np.save(out, PIXELS)
    ways: dict[str, dict[str, Any]] = {
        "form": {"files": [("file", ("a.png", file, "image/png")) for file in files]},
        "json": {"json": {"images": [inline[0], f"data:image/png;base64,{inline[1]}", inline[2]]}},
        "npy": {"content": out.getvalue()},
        "raw": {"content": PIXELS.tobytes(), "headers": {"x-tessera-shape": "3,61,45,3"}},
    }
    for name, options in ways.items():
        answer = encoded(server, **options)
        z = load(answer.content)["z"]
        np.testing.assert_allclose(z, alone, rtol=0, atol=1e-5, err_msg=name)
        assert answer.headers["x-tessera-pixel-bytes"] == str(PIXELS.nbytes)
    query = encoded(server, "?shape=3,61,45,3", content=PIXELS.tobytes())
    np.testing.assert_array_equal(load(query.content)["z"], z)
    pictures = decoded(server, query)
    assert pictures.shape == PIXELS.shape
    one = encoded(server, json={"image": inline[1]})
    np.testing.assert_allclose(load(one.content)["z"], alone[1:2], rtol=0, atol=1e-5)


def test_several_samples_come_as_json_zip_or_one_array(server: Server) -> None:
    latent = encoded(server, files=[("file", as_file(item)) for item in PIXELS])
    pictures = decoded(server, latent)
    listed = server.post("/v1/decode", content=latent.content).json()
    assert listed["size"] == [61, 45]
    packed = server.post("/v1/decode?bundle=zip", content=latent.content)
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        names = archive.namelist()
        assert names == ["000.png", "001.png", "002.png"]
        for name, item, expected in zip(names, listed["data"], pictures, strict=True):
            np.testing.assert_array_equal(as_pixels(archive.read(name)), expected)
            np.testing.assert_array_equal(as_pixels(base64.b64decode(item["b64"])), expected)
    raw = server.post("/v1/decode?output=raw", content=latent.content)
    assert raw.headers["x-tessera-shape"] == "3,61,45,3"
    np.testing.assert_array_equal(np.frombuffer(raw.content, np.uint8).reshape(pictures.shape), pictures)
    one = encoded(server)
    assert len(server.post("/v1/decode?bundle=json", content=one.content).json()["data"]) == 1


def test_a_latent_inside_json_and_in_the_query(server: Server) -> None:
    latent = encoded(server, "?format=raw&dtype=float16")
    told = {name.removeprefix("x-tessera-"): latent.headers[name] for name in TOLD if name in latent.headers}
    query = server.post("/v1/decode", params=told | {"output": "npy"}, content=latent.content)
    np.testing.assert_array_equal(np.load(io.BytesIO(query.content)), decoded(server, latent))
    file = encoded(server).content
    inline = server.post("/v1/decode?output=npy", json={"latent": base64.b64encode(file).decode()})
    np.testing.assert_array_equal(np.load(io.BytesIO(inline.content)), decoded(server, encoded(server)))


def test_a_quality_makes_smaller_files(server: Server) -> None:
    latent = encoded(server).content
    for output in ("jpeg", "webp", "avif"):
        small, large = (
            len(server.post(f"/v1/decode?output={output}&quality={quality}", content=latent).content)
            for quality in (10, 95)
        )
        assert small < large
    facts = refused(server.post("/v1/decode?output=png&quality=90", content=latent), 422, "invalid_parameter")
    assert facts["param"] == "quality"
    refused(server.post("/v1/decode?output=jpeg&quality=101", content=latent), 422, "invalid_parameter")


def test_indices_as_raw(server: Server) -> None:
    indices = encoded(server, "?model=codes&what=indices&format=raw")
    assert indices.headers["x-tessera-dtype"] == "uint16"
    whole = encoded(server, "?model=codes&what=indices")
    both = [decoded(server, item, "?model=codes&output=npy") for item in (indices, whole)]
    np.testing.assert_array_equal(*both)


def test_generated_latents_in_other_formats(server: Server) -> None:
    asked = {"label": 0, "seed": 3, "num_images": 2, "output": "latent"}
    whole = load(server.post("/v1/generate", json=asked).content)["z"]
    half = server.post("/v1/generate", json=asked | {"dtype": "float16", "format": "npy"})
    np.testing.assert_array_equal(np.load(io.BytesIO(half.content)), whole.astype(np.float16))
    raw = server.post("/v1/generate", json=asked | {"dtype": "uint8", "format": "raw"})
    assert raw.headers["x-tessera-shape"] == "2,8,8,8"
    assert decoded(server, raw).shape == (2, 32, 32, 3)
    avif = server.post("/v1/generate", json={"label": 0, "seed": 3, "output": "avif", "quality": 60})
    assert as_pixels(avif.content).shape == (32, 32, 3)
    for wrong in ({"dtype": "float16"}, {"format": "npy"}, {"quality": 5}):
        body = {"label": 0, "output": "png"} | wrong
        refused(server.post("/v1/generate", json=body), 422, "invalid_parameter")
    refused(server.post("/v1/generate", json=asked | {"quality": 5}), 422, "invalid_parameter")


@pytest.mark.parametrize(
    ("query", "options", "status", "code"),
    [
        (
            "",
            {"files": [("file", as_file(picture(8, 8))), ("file", as_file(picture(8, 9)))]},
            422,
            "wrong_shape",
        ),
        ("", {"files": [("file", as_file(picture(8, 8)))] * 9}, 400, "bad_form"),
        ("", {"json": {"images": []}}, 400, "bad_form"),
        ("", {"json": {"image": "not base64"}}, 400, "bad_form"),
        ("", {"json": {"image": ""}}, 400, "empty_body"),
        ("", {"json": {"image": "aGVsbG8="}}, 415, "not_an_image"),
        ("?shape=60000,60000,3", {"content": b"x"}, 400, "not_a_tensor"),
        ("?shape=1,2", {"content": b"xx"}, 422, "wrong_shape"),
        ("?shape=9,9", {"content": bytes(81)}, 422, "wrong_shape"),
        ("?shape=-1", {"content": b"x"}, 422, "wrong_shape"),
        ("?shape=9,2,2,3", {"content": bytes(108)}, 422, "wrong_shape"),
        ("?shape=600,600,3", {"content": bytes(600 * 600 * 3)}, 413, "body_too_large"),
        (
            "?shape=2,2,3",
            {"content": bytes(12), "headers": {"x-tessera-dtype": "float32"}},
            422,
            "wrong_dtype",
        ),
        ("?format=png", {"files": [("file", as_file(picture(8, 8)))] * 2}, 422, "invalid_parameter"),
        ("?format=png&dtype=float16", {"content": as_file(picture(8, 8))}, 422, "invalid_parameter"),
        ("?dtype=int8", {"content": as_file(picture(8, 8))}, 422, "invalid_parameter"),
    ],
)
def test_refused_batches_and_formats(
    server: Server, query: str, options: dict[str, Any], status: int, code: str
) -> None:
    refused(server.post(f"/v1/encode{query}", **options), status, code)


def test_all_pictures_of_a_request_count_together(server: Server) -> None:
    body = as_file(np.zeros((300, 300, 3), np.uint8))
    assert server.post("/v1/encode", files=[("file", body)] * 2).status_code == 200
    facts = refused(server.post("/v1/encode", files=[("file", body)] * 3), 413, "too_many_pixels")
    assert "3 pictures" in facts["message"]
    z = np.zeros((3, 8, 75, 75), np.float16)
    meta = {"size": "300,300", "spec_id": server.get("/v1/models").json()["data"][0]["spec_id"]}
    refused(server.post("/v1/decode", content=save({"z": z}, meta)), 413, "too_many_pixels")


def test_reconstruct_takes_pixels_and_one_picture(server: Server) -> None:
    sent = server.post("/v1/reconstruct?shape=61,45,3&output=raw", content=PIXELS[0].tobytes())
    same = server.post("/v1/reconstruct?output=raw", content=as_file(PIXELS[0]))
    assert sent.content == same.content
    inline = server.post(
        "/v1/reconstruct?output=raw", json={"image": base64.b64encode(as_file(PIXELS[0])).decode()}
    )
    assert inline.content == same.content
    refused(server.post("/v1/reconstruct?shape=3,61,45,3", content=PIXELS.tobytes()), 422, "wrong_shape")
    refused(server.post("/v1/reconstruct", files=[("file", as_file(PIXELS[0]))] * 2), 400, "bad_form")


def test_a_lying_avif_is_refused_by_the_server(server: Server) -> None:
    body = as_file(np.zeros((1024, 1024, 3), np.uint8), "AVIF")
    at = body.index(b"ispe") + 8
    lying = body[:at] + (64).to_bytes(4, "big") * 2 + body[at + 8 :]
    for sent in (body, lying):
        refused(server.post("/v1/encode", content=sent), 413, "too_many_pixels")
    assert encoded(server, content=as_file(PIXELS[0], "AVIF")).headers["x-tessera-size"] == "61,45"
