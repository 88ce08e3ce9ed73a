"""diffusers' own clients, unmodified, against a running server; every mode equals the model called directly.

Letters: B batch, C latent channels, h w latent positions, H W pixels.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.remote_utils import remote_decode, remote_encode
from PIL import Image
from torch import Tensor

from service.app import create_app
from service.engine.operations.base import to_pixels
from service.engine.operations.reconstruct import psnr
from service.errors import WrongShape
from service.routes.remote import _is_packed, _size_of
from service.settings import Settings
from tests.service.conftest import Server, models_setting
from tests.service.routes.remote_clients import (
    DTYPES,
    MODELS,
    SCALINGS,
    SIZE,
    as_image,
    decoded,
    encoded,
    endpoint,
    pixels,
)
from tokenizer.model import Tokenizer
from tokenizer.spec import LatentSpec, PartSpec

pytestmark = pytest.mark.usefixtures("no_proxy")


def sent_latent(
    model: Tokenizer, scaling: str, dtype: torch.dtype, batch: int
) -> tuple[Tensor, dict[str, Any], Tensor]:
    """(what the client sends, its arguments, x_hat that the model gives for exactly those numbers)."""
    arguments, there, back = SCALINGS[scaling]
    z = encoded(model, pixels(batch)).z
    if there is None or back is None:
        tensor = z.to(dtype).contiguous()
        return tensor, arguments, decoded(model, tensor)
    tensor = there(model.spec.denormalize(z)).to(dtype).contiguous()
    return tensor, arguments, decoded(model, model.spec.normalize(back(tensor.float())))


def as_uint8(images: Image.Image | list[Image.Image]) -> Tensor:
    """uint8 (B, H, W, 3)."""
    several = images if isinstance(images, list) else [images]
    return torch.from_numpy(np.stack([np.asarray(image) for image in several]))


def assert_pixels(ours: Tensor, x_hat: Tensor, most: int = 1) -> None:
    """The last bit of a float may round either way."""
    expected = to_pixels(x_hat)
    assert ours.shape == expected.shape
    difference = (ours.int() - expected.int()).abs()
    assert difference.max() <= most
    assert difference.float().mean() < 0.01


@pytest.mark.filterwarnings("ignore:`do_scaling` is deprecated:FutureWarning")
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_decode_scales_and_types(
    server: Server, tokenizers: dict[str, Tokenizer], name: str, dtype: torch.dtype, scaling: str
) -> None:
    tensor, arguments, x_hat = sent_latent(tokenizers[name], scaling, dtype, batch=2)
    answer = remote_decode(
        endpoint(server, "decode", name), tensor, output_type="pt", return_type="pt", **arguments
    )
    assert (answer.shape, answer.dtype) == (x_hat.shape, torch.float32)  # the model's own type
    torch.testing.assert_close(answer, x_hat, rtol=0, atol=2e-4)


Check = Callable[[Any, Tensor], None]


def is_one_image(answer: Any, x_hat: Tensor) -> None:
    assert isinstance(answer, Image.Image)
    assert (answer.mode, answer.size) == ("RGB", (x_hat.shape[3], x_hat.shape[2]))


def is_png(answer: Any, x_hat: Tensor) -> None:
    is_one_image(answer, x_hat)
    assert answer.format == "png"
    assert_pixels(as_uint8(answer), x_hat[:1])


def is_jpeg(answer: Any, x_hat: Tensor) -> None:
    is_one_image(answer, x_hat)
    assert answer.format == "jpeg"
    assert psnr(np.asarray(answer), to_pixels(x_hat)[0].numpy()) > 30


def is_image_or_list(answer: Any, x_hat: Tensor) -> None:
    assert isinstance(answer, Image.Image if len(x_hat) == 1 else list)
    assert_pixels(as_uint8(answer), x_hat)


def is_list(answer: Any, x_hat: Tensor) -> None:
    assert isinstance(answer, list)
    assert_pixels(as_uint8(answer), x_hat)


def is_first_image(answer: Any, x_hat: Tensor) -> None:
    is_one_image(answer, x_hat)  # postprocess()[0] of the client
    assert_pixels(as_uint8(answer), x_hat[:1])


def is_uint8(answer: Any, x_hat: Tensor) -> None:
    assert answer.dtype == torch.uint8
    assert_pixels(answer, x_hat)


def is_unit(answer: Any, x_hat: Tensor) -> None:
    torch.testing.assert_close(answer, (x_hat / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)


def is_x_hat(answer: Any, x_hat: Tensor) -> None:
    torch.testing.assert_close(answer, x_hat, rtol=0, atol=1e-4)


PROCESSOR = {"processor": VaeImageProcessor()}
MODES: dict[str, tuple[dict[str, Any], Check]] = {
    "pil": ({}, is_jpeg),
    "pil jpg": ({"image_format": "jpg"}, is_jpeg),
    "pil png": ({"image_format": "png"}, is_png),
    "pil with processor": (PROCESSOR, is_list),
    "pil with processor, png": (PROCESSOR | {"image_format": "png"}, is_list),
    "pil with processor to pt": (PROCESSOR | {"return_type": "pt"}, is_unit),
    "pt to pt": ({"output_type": "pt", "return_type": "pt"}, is_x_hat),
    "pt to pt with processor": (PROCESSOR | {"output_type": "pt", "return_type": "pt"}, is_x_hat),
    "pt to pil": (PROCESSOR | {"output_type": "pt"}, is_first_image),
    "partial to pil": ({"output_type": "pt", "partial_postprocess": True}, is_image_or_list),
    "partial to pt": ({"output_type": "pt", "return_type": "pt", "partial_postprocess": True}, is_uint8),
    "partial with processor": (
        PROCESSOR | {"output_type": "pt", "return_type": "pt", "partial_postprocess": True},
        is_uint8,
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [1, 3])
def test_decode_answers(server: Server, tokenizers: dict[str, Tokenizer], mode: str, batch: int) -> None:
    arguments, check = MODES[mode]
    tensor, scaling, x_hat = sent_latent(tokenizers["tiny"], "both", torch.float32, batch)
    check(remote_decode(endpoint(server, "decode"), tensor, **scaling, **arguments), x_hat)


def test_a_picture_file_says_how_many_it_leaves_out(server: Server, tokenizers: dict[str, Tokenizer]) -> None:
    tensor = encoded(tokenizers["tiny"], pixels(3)).z
    query = {"shape": list(tensor.shape), "dtype": "float32", "do_scaling": True}
    sent = server.post("/v1/remote/decode", params=query, content=tensor.numpy().tobytes())
    assert (sent.headers["content-type"], sent.headers["x-tessera-left-out"]) == ("image/jpeg", "2")


def packed(z: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w / 4, 4 C), as FluxPipeline packs."""
    batch, channels, height, width = z.shape
    squares = z.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(batch, height * width // 4, 4 * channels).contiguous()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_packed_latents(
    server: Server, tokenizers: dict[str, Tokenizer], batch: int, dtype: torch.dtype
) -> None:
    tensor, scaling, x_hat = sent_latent(tokenizers["tiny"], "both", dtype, batch)
    answer = remote_decode(
        endpoint(server, "decode"),
        packed(tensor),
        output_type="pt",
        return_type="pt",
        height=SIZE[0],
        width=SIZE[1],
        **scaling,
    )
    torch.testing.assert_close(answer, x_hat, rtol=0, atol=2e-4)


def test_a_sample_without_batch_and_sizes_that_do_not_divide(
    server: Server, tokenizers: dict[str, Tokenizer]
) -> None:
    model, size = tokenizers["tiny"], (46, 31)
    z = encoded(model, pixels(size=size)).z
    raw, x_hat = model.spec.denormalize(z).contiguous(), decoded(model, z, size)
    told = {
        "height": size[0],
        "width": size[1],
        "do_scaling": False,
        "output_type": "pt",
        "return_type": "pt",
    }
    for tensor in (raw[0], raw):
        answer = remote_decode(endpoint(server, "decode"), tensor, **told)
        assert answer.shape == (1, 3, *size)
        torch.testing.assert_close(answer, x_hat, rtol=0, atol=1e-4)
    whole = remote_decode(
        endpoint(server, "decode"), raw, do_scaling=False, output_type="pt", return_type="pt"
    )
    assert whole.shape == (1, 3, 48, 32)  # nothing says where to crop
    cut = raw[:, :, : 46 // 4, : 31 // 4].contiguous()  # a pipeline drops what does not divide
    assert remote_decode(endpoint(server, "decode"), cut[0], **told).shape == (1, 3, 44, 28)


Z = torch.zeros(1, 8, 8, 8)
REFUSED: list[tuple[Tensor, dict[str, Any], str]] = [
    (Z, {"output_type": "mp4", "return_type": "mp4"}, "output_type=pil"),
    (torch.zeros(1, 8, 3, 8, 8), {}, "does not belong"),
    (torch.zeros(1, 7, 8, 8), {}, "does not belong"),
    (torch.zeros(1, 8, 8, 8), {"height": 64, "width": 64}, "does not belong"),
    (torch.zeros(1, 16, 32), {"height": 30, "width": 64}, "packed positions"),
    (torch.zeros(1, 16, 30), {"height": 32, "width": 32}, "does not belong"),
    (torch.zeros(9, 8, 8, 8), {}, "send 1 to 8"),
    (torch.zeros(1, 8, 200, 200, dtype=torch.float16), {}, "pixels"),
    (torch.full((1, 8, 8, 8), float("nan")), {}, "NaN"),
    (torch.full((1, 8, 8, 8), 1e5), {}, "beyond"),
    (torch.ones(1, 8, 8, 8), {"do_scaling": True, "scaling_factor": 1e-9}, "scaling_factor"),
    (torch.zeros(1, 8, 8, 8, dtype=torch.float64), {}, "dtype"),
    (torch.zeros(8), {}, "does not follow"),
]


@pytest.mark.parametrize(("tensor", "arguments", "told"), REFUSED)
def test_refusals_reach_the_caller_as_sentences(
    server: Server, tensor: Tensor, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(RuntimeError, match=told) as refusal:
        remote_decode(endpoint(server, "decode"), tensor, **({"do_scaling": False} | arguments))
    (facts,) = refusal.value.args
    assert facts["error"]["code"]


def test_refusals_that_the_client_would_not_send(server: Server) -> None:
    def status(operation: str, query: dict[str, Any], body: bytes) -> int:
        answer = server.post(f"/v1/remote/{operation}", params=query, content=body)
        assert answer.json()["error"]["message"]
        return answer.status_code

    query = {"shape": [1, 8, 8, 8], "dtype": "float32"}
    assert status("decode", query, bytes(2047)) == 400
    assert status("decode", query, b"") == 400
    assert status("decode", {"dtype": "float32"}, bytes(4)) == 422
    assert status("decode", {"shape": 1}, bytes(4)) == 422
    assert status("decode", query | {"shape": [2**31, 1]}, bytes(4)) == 422
    assert status("decode", query | {"shape": [1] * 7}, bytes(4)) == 422
    assert status("decode", query | {"shape": [2**30] * 4}, bytes(4)) == 400
    assert status("decode", query | {"shape": [0, 8, 8, 8]}, bytes(4)) == 422
    assert status("decode", query | {"shape": [8, 16, 16]}, bytes(8192)) == 422  # no height and width
    assert status("decode", query | {"scaling_factor": 0}, bytes(2048)) == 422
    assert status("decode", query | {"scaling_factor": "nan"}, bytes(2048)) == 422
    assert status("decode", query | {"input_tensor_type": "base64"}, bytes(2048)) == 422
    assert status("decode", query | {"tiling": 1}, bytes(2048)) == 422
    assert status("encode", {"shape": [1, 3, 8, 8]}, bytes(768)) == 422
    assert status("encode", {"shape": [1, 4, 8, 8], "dtype": "float32"}, bytes(1024)) == 422
    assert status("encode", {"shape": [9, 3, 8, 8], "dtype": "uint8"}, bytes(9 * 192)) == 422
    assert status("encode", {"shape": [1, 3, 8, 8], "dtype": "float32"}, bytes(767)) == 400
    assert status("encode", {"shape": [1, 3, 9000, 9000], "dtype": "uint8"}, bytes(4)) == 413
    assert status("encode", {}, b"hello") == 415
    bright = np.full((1, 3, 8, 8), 255, np.float32).tobytes()
    assert status("encode", {"shape": [1, 3, 8, 8], "dtype": "float32"}, bright) == 422


def test_what_older_clients_add_is_taken(server: Server, tokenizers: dict[str, Tokenizer]) -> None:
    z = encoded(tokenizers["tiny"], pixels()).z
    query = {
        "input_tensor_type": "binary",
        "output_tensor_type": "binary",
        "do_scaling": "False",
        "shape": list(z.shape),
        "dtype": "float32",
    }
    answer = server.post("/v1/remote/decode", params=query, content=z.numpy().tobytes())
    assert answer.headers["content-type"] == "image/jpeg"


@contextmanager
def listening(settings: Settings) -> Iterator[str]:
    """The application on a free port, in this process and without its worker: who may come in is asked first."""
    application = uvicorn.Server(
        uvicorn.Config(create_app(settings), log_level="error", lifespan="off", ws="none")
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # whoever connects before it is up waits
        thread = threading.Thread(target=application.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            application.should_exit = True
            thread.join(30)


def test_the_key_travels_as_the_password_of_the_address(models: dict[str, Path]) -> None:
    """An unmodified client can send nothing else: with the key it comes as far as the models, which are not there."""
    settings = Settings(models=models_setting(models), api_keys="alpha")
    with listening(settings) as host:
        for key, code in (("", "no_key"), (":beta@", "bad_key"), (":alpha@", "not_ready")):
            with pytest.raises(RuntimeError, match=code):
                remote_decode(f"http://{key}{host}/v1/remote/decode", Z, do_scaling=False)
            with pytest.raises(RuntimeError, match=code):
                remote_encode(f"http://{key}{host}/v1/remote/encode", as_image("RGB"))
        assert httpx.get(f"http://{host}/health/live", trust_env=False).status_code == 200


def test_tokens_need_the_size_and_are_never_packed() -> None:
    spec = LatentSpec(parts=(PartSpec(layout="1d", channels=8, spatial_factor=16, num_tokens=32),))
    assert not _is_packed((2, 8, 32), (64, 64), spec)
    assert _size_of((2, 8, 32), (64, 64), spec, packed=False) == (64, 64)
    with pytest.raises(WrongShape, match="send height and width"):
        _size_of((2, 8, 32), None, spec, packed=False)
