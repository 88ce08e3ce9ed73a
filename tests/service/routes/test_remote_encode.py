"""diffusers' ``remote_encode``, unmodified, against a running server; there and back with ``remote_decode``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.utils.remote_utils import remote_decode, remote_encode

from tests.service.conftest import Server, as_file, picture
from tests.service.routes.remote_clients import (
    DTYPES,
    MODELS,
    SCALINGS,
    SIZE,
    as_image,
    encoded,
    endpoint,
    pixels,
)
from tokenizer.model import Tokenizer

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scaling", ["raw", "factor", "both"])
def test_encode_pictures(server: Server, tokenizers: dict[str, Tokenizer], name: str, scaling: str) -> None:
    model = tokenizers[name]
    arguments, there, _ = SCALINGS[scaling]
    factors = {key: value for key, value in arguments.items() if key != "do_scaling"}
    answer = remote_encode(endpoint(server, "encode", name), as_image("RGB"), **factors)
    raw = model.spec.denormalize(encoded(model, pixels()).z)
    assert there is not None
    torch.testing.assert_close(answer, there(raw), rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_encode_takes_every_mode_of_picture(
    server: Server, tokenizers: dict[str, Tokenizer], mode: str
) -> None:
    image = as_image(mode)
    batch = torch.from_numpy(np.asarray(image.convert("RGB")).copy())[None]
    raw = tokenizers["tiny"].spec.denormalize(encoded(tokenizers["tiny"], batch).z)
    torch.testing.assert_close(remote_encode(endpoint(server, "encode"), image), raw, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8], ids=str)
@pytest.mark.parametrize("span", ["unit", "symmetric"])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_encode_tensors(
    server: Server, tokenizers: dict[str, Tokenizer], batch: int, span: str, dtype: torch.dtype
) -> None:
    """[0, 1], or [-1, 1] if anything is below zero; uint8 as pixels; batch 0 sends (3, H, W)."""
    whole = pixels(max(1, batch)).permute(0, 3, 1, 2)
    tensor = whole if dtype == torch.uint8 else (whole.float() / 255).to(dtype)
    x = whole.float() / 127.5 - 1 if dtype == torch.uint8 else 2 * tensor.float() - 1
    if span == "symmetric" and dtype != torch.uint8:
        tensor = x = (whole.float() / 127.5 - 1).to(dtype)
    with torch.inference_mode():
        raw = tokenizers["tiny"].spec.denormalize(tokenizers["tiny"].encode(x.float()).z)
    # The client reads a copy that it has freed if it must make the tensor contiguous itself.
    answer = remote_encode(endpoint(server, "encode"), (tensor if batch else tensor[0]).contiguous())
    assert answer.shape == raw.shape
    torch.testing.assert_close(answer, raw, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_is_the_models_own_reconstruction(
    server: Server, tokenizers: dict[str, Tokenizer], name: str
) -> None:
    image = as_image("RGB")
    latent = remote_encode(endpoint(server, "encode", name), image, scaling_factor=0.5)
    back = remote_decode(endpoint(server, "decode", name), latent, scaling_factor=0.5, image_format="png")
    own = server.post(f"/v1/reconstruct?model={name}&output=raw", content=as_file(picture(*SIZE)))
    ours = np.frombuffer(own.content, np.uint8).reshape(*SIZE, 3).astype(int)
    assert np.abs(np.asarray(back).astype(int) - ours).max() <= 1
