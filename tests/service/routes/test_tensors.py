"""The tokenizer's interface over HTTP: what the model gives here, float for float."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as read
from safetensors.torch import save

from tests.service.conftest import Server
from tokenizer.adapters.remote import RemoteTokenizer
from tokenizer.loading import load
from tokenizer.spec import Latent


def pixels(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", ["tiny", "codes"])
def test_a_served_tokenizer_is_the_one_in_the_folder(
    server: Server, models: dict[str, Path], name: str
) -> None:
    remote, local = RemoteTokenizer(f"{server.url}/v1/#{name}"), load(models[name])
    assert (remote.spec, remote.spec_id, remote.name) == (local.spec, local.spec_id, name)
    x = pixels(11, 33, 20)  # more than one request takes, of a size that is padded
    there, here = remote.encode(x), local.encode(x)
    assert (there.size, there.spec_id) == (here.size, here.spec_id)
    torch.testing.assert_close(there.z, here.z, rtol=0, atol=1e-5)
    x_hat = remote.decode(there)
    torch.testing.assert_close(x_hat, local.decode(here), rtol=0, atol=1e-5)
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() > 1  # nothing was clamped on the way
    timings = remote.timings()
    assert set(timings) == {
        f"{kind}_{what}_ms"
        for kind in ("encode", "decode")
        for what in ("request_p50", "request_p95", "network_p50")
    }
    if here.indices:
        again = remote.decode(Latent({}, here.size, here.spec_id, here.indices))
        torch.testing.assert_close(again, x_hat, rtol=0, atol=1e-5)


def test_the_default_model_and_refusals(server: Server, models: dict[str, Path]) -> None:
    remote = RemoteTokenizer(server.url)
    assert remote.name == "tiny"
    with pytest.raises(ValueError, match="serves no tokenizer 'none': it has tiny, other, codes"):
        RemoteTokenizer(f"{server.url}#none")
    foreign = load(models["other"]).encode(pixels(1, 8, 8))
    with pytest.raises(ValueError, match="belongs to spec"):
        remote.decode(foreign)
    with pytest.raises(ValueError, match="cannot be asked of a server"):
        remote.encode(pixels(1, 8, 8), sample=True)
    with pytest.raises(ValueError, match="no row of tokens: leave num_tokens out"):
        remote.encode(pixels(1, 8, 8), num_tokens=3)
    with pytest.raises(ValueError, match="draws nothing: leave num_steps out"):
        remote.decode(remote.encode(pixels(1, 8, 8)), num_steps=3)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        remote.encode(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"values beyond|NaN"):
        remote.encode(torch.full((1, 3, 8, 8), torch.nan))


@pytest.mark.parametrize(
    ("tensors", "status", "code"),
    [
        ({"y": torch.zeros(1, 3, 8, 8)}, 422, "wrong_shape"),
        ({"x": torch.zeros(1, 3, 8, 8), "y": torch.zeros(1)}, 422, "wrong_shape"),
        ({"x": torch.zeros(3, 8, 8)}, 422, "wrong_shape"),
        ({"x": torch.zeros(1, 4, 8, 8)}, 422, "wrong_shape"),
        ({"x": torch.zeros(1, 3, 0, 8)}, 422, "wrong_shape"),
        ({"x": torch.zeros(9, 3, 8, 8)}, 422, "wrong_shape"),
        ({"x": torch.zeros(1, 3, 8, 8, dtype=torch.float16)}, 422, "wrong_dtype"),
        ({"x": torch.full((1, 3, 8, 8), torch.inf)}, 422, "not_finite"),
        ({"x": torch.zeros(1, 3, 1, 70_000)}, 413, "too_many_pixels"),
    ],
)
def test_what_is_no_picture_is_explained(
    server: Server, tensors: dict[str, torch.Tensor], status: int, code: str
) -> None:
    answer = server.post("/v1/tensors/encode", content=save(tensors), params={"model": "tiny"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_answers_say_what_they_are(server: Server) -> None:
    latent = server.post("/v1/tensors/encode", content=save({"x": pixels(2, 10, 8)}))
    assert latent.headers["content-type"] == "application/vnd.safetensors"
    assert latent.headers["x-tessera-size"] == "10,8"
    assert read(latent.content)["z"].shape == (2, 8, 3, 2)
    decoded = server.post("/v1/tensors/decode", content=latent.content)
    assert (decoded.headers["shape"], decoded.headers["dtype"]) == ("[2, 3, 10, 8]", "float32")
    assert np.frombuffer(decoded.content, np.float32).size == 2 * 3 * 10 * 8
