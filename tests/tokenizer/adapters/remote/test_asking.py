"""What a remote tokenizer asks of a server for rows of tokens and for decoders that draw."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tokenizer.adapters.remote import RemoteTokenizer
from tokenizer.adapters.remote.connection import Reply
from tokenizer.spec import Latent, LatentSpec

SPEC = LatentSpec.image(2, 8, num_tokens=(1, 4)).with_statistics({"z": ([0.0, 0.0], [1.0, 1.0])})
LIMITS = {"max_images": 8, "max_body_bytes": 1 << 20, "max_pixels": 1 << 20}


class Scripted:
    """A server of one model that notes its requests: rows of as many tokens as asked for, pictures of zeros."""

    def __init__(self, spec: LatentSpec) -> None:
        self.spec = spec
        self.asked: list[str] = []

    def get(self, path: str) -> Reply:
        entry = {
            "kind": "tokenizer", "name": "rows", "default": True, "spec_id": "id",
            "spec": self.spec.model_dump(mode="json"),
        }  # fmt: skip
        return Reply(json.dumps({"data": [entry], "limits": LIMITS}).encode(), {}, 0.0)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.asked.append(path.partition("?")[2])
        if "encode" in path:
            count = 3 if "num_tokens=3" in path else 4
            return Reply(save({"z": torch.zeros(len(load(body)["x"]), 2, count)}), {}, 0.0)
        told = {"shape": json.dumps([len(load(body)["z"]), 3, 16, 16]), "dtype": "float32"}
        return Reply(bytes(4 * 3 * 16 * 16 * len(load(body)["z"])), told, 0.0)

    def close(self) -> None:
        pass


def remote(spec: LatentSpec) -> tuple[RemoteTokenizer, Scripted]:
    server: Any = Scripted(spec)
    return RemoteTokenizer("http://there:1#rows", connection=server), server


def test_tokens_steps_and_a_seed_are_asked_for() -> None:
    tokenizer, server = remote(SPEC.model_copy(update={"num_steps": 4}))
    latent = tokenizer.encode(torch.zeros(2, 3, 16, 16), num_tokens=3)
    assert latent.z.shape == (2, 2, 3)
    tokenizer.decode(latent, num_tokens=2, num_steps=8)
    seeded = [
        tokenizer.decode(latent, generator=torch.Generator().manual_seed(seed)).shape for seed in (5, 5, 6)
    ]
    assert seeded == [(2, 3, 16, 16)] * 3
    assert server.asked[:2] == ["model=rows&num_tokens=3", "model=rows&num_tokens=2&num_steps=8"]
    seeds = [query.partition("&seed=")[2] for query in server.asked[2:]]
    assert seeds[0] == seeds[1] != seeds[2]
    assert 0 <= int(seeds[0]) < 2**53


def test_nothing_is_asked_of_a_decoder_that_computes() -> None:
    tokenizer, server = remote(SPEC)
    latent = tokenizer.encode(torch.zeros(1, 3, 16, 16))
    tokenizer.decode(latent, generator=torch.Generator())
    assert server.asked == ["model=rows", "model=rows"]


def test_a_shorter_row_is_a_latent_too_and_a_longer_one_is_not() -> None:
    tokenizer, _ = remote(SPEC)
    short = Latent({"z": torch.zeros(1, 2, 1)}, (16, 16), "id")
    assert tokenizer.decode(short).shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"part 'z' is \(2, 5\)"):
        tokenizer.decode(Latent({"z": torch.zeros(1, 2, 5)}, (16, 16), "id"))
