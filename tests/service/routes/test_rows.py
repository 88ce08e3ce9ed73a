"""Rows of tokens and decoders that draw, over HTTP: every allowed count, and the same seed the same picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.cli.__main__ import main
from service.client import Client, Latent
from service.errors import InvalidParameter, WrongShape
from tests.service.conftest import Server, StartServer, as_file, picture
from tokenizer.adapters.remote import RemoteTokenizer
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import load

BODY = {"width": 16, "depth": 1, "heads": 2}
CONFIG: dict[str, Any] = {
    "backbone": {
        "kind": "semanticist", "latent_channels": 4, "tokens": 4, "encoder_patch": 8, "decoder_patch": 8,
        "learned_side": 2, "encoder": BODY, "decoder": BODY, "steps": 2,
    }
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TokenizerConfig.parse(CONFIG)
    torch.manual_seed(0)
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():  # gates and heads start at 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    record = {
        "format": 1, "kind": "tokenizer", "model": config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
    }  # fmt: skip
    path = tmp_path_factory.mktemp("rows") / "rows"
    checkpoint.save_folder(path, record, {"model": model.state_dict()})
    return path


@pytest.fixture(scope="module")
def rows(start_server: StartServer, folder: Path) -> Server:
    return start_server(models=f"rows={folder}", warmup_s=0)


@pytest.fixture
def client(rows: Server) -> Iterator[Client]:
    with Client(rows.url) as client:
        yield client


def test_every_count_goes_there_and_back(rows: Server, client: Client, folder: Path, tmp_path: Path) -> None:
    local = load(folder)
    sent = as_file(picture(21, 30))
    whole = client.encode(sent)
    for count in (1, 3, 4):
        latent = client.encode(sent, num_tokens=count)
        np.testing.assert_array_equal(latent.z, whole.z[:, :, :count])
        (made,) = client.decode(latent, output="npy", num_steps=3, seed=5).arrays()
        (cut,) = client.decode(whole, output="npy", num_tokens=count, num_steps=3, seed=5).arrays()
        assert np.abs(made.astype(int) - cut).max() <= 1
        through = client.reconstruct(sent, output="npy", num_tokens=count, num_steps=3, seed=5)
        assert np.abs(made.astype(int) - through.picture.array()).max() <= 1
    (other,) = client.decode(whole, output="npy", num_steps=3, seed=6).arrays()
    assert np.abs(other.astype(int) - made).max() > 1
    remote = RemoteTokenizer(rows.url)
    assert remote.spec.num_steps == 2
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    there, here = remote.encode(x, num_tokens=2), local.encode(x, num_tokens=2)
    torch.testing.assert_close(there.z, here.z, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        remote.decode(there, num_steps=4), local.decode(here, num_steps=4), rtol=0, atol=1e-4
    )
    file = tmp_path / "a.png"
    file.write_bytes(sent)
    told = ["--url", rows.url, "--quiet"]
    assert main(["encode", str(file), "-o", str(tmp_path / "a.safetensors"), "--num-tokens", "3", *told]) == 0
    assert Latent.load(tmp_path / "a.safetensors").z.shape == (1, 4, 3)
    decoded = ["decode", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "b.png"), "--steps", "1"]
    assert main([*decoded, "--seed", "1", *told]) == 0


def test_what_cannot_be_is_refused_with_what_can(rows: Server, client: Client) -> None:
    sent = as_file(picture(16, 16))
    with pytest.raises(InvalidParameter, match="1 to 4 tokens, not 5"):
        client.encode(sent, num_tokens=5)
    with pytest.raises(WrongShape, match="2 tokens were sent, of which the first 3 do not decode"):
        client.decode(client.encode(sent, num_tokens=2), num_tokens=3)
    answer = rows.post("/v1/decode?num_steps=0", content=b"")
    assert answer.status_code == 422
    listed = rows.get("/openapi.json").json()["paths"]["/v1/decode"]["post"]["parameters"]
    assert {"num_tokens", "num_steps", "seed"} <= {parameter["name"] for parameter in listed}
    assert rows.get("/v1/models").json()["data"][0]["spec"]["num_steps"] == 2
