"""A served generator, without a server: what is asked, and what is made of the answers."""

import io
import json
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.remote import GENERATE, RemotePipeline
from tokenizer.adapters.remote.connection import Connection, Reply
from tokenizer.spec import LatentSpec

GENERATOR: dict[str, Any] = {
    **{"name": "shapes", "kind": "generator", "default": True, "conditioning": "class", "tokenizer": "tiny"},
    **{"spec_id": "abc", "class_names": ["circle", "star"], "sizes": [[4, 6]]},
}
TOKENIZER = {
    **{"name": "tiny", "kind": "tokenizer", "default": True, "spec_id": "abc"},
    "spec": LatentSpec.image(8, 4).with_statistics({"z": ([0.0] * 8, [1.0] * 8)}).model_dump(mode="json"),
}
LIMITS = {"max_images": 4, "max_body_bytes": 10**6, "max_pixels": 10**6}


def picture(label: int, seed: int) -> np.ndarray:
    return np.random.default_rng([label, seed]).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Requests in the order of their seeds; each is answered with the picture of its label and seed."""
    seen: list[dict[str, Any]] = []

    def get(self: Connection, path: str) -> Reply:
        return Reply(json.dumps({"data": [GENERATOR, TOKENIZER], "limits": LIMITS}).encode(), {}, 0.0)

    def post(self: Connection, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        wanted = json.loads(body)
        seen.append(wanted | {"path": path, "priority": headers["x-priority"]})
        file = io.BytesIO()
        np.save(file, picture(wanted["label"], wanted["seed"]))
        return Reply(file.getvalue(), {}, 0.0)

    monkeypatch.setattr(Connection, "get", get)
    monkeypatch.setattr(Connection, "post", post)
    return seen


def test_one_request_a_picture_each_with_its_seed(asked: list[dict[str, Any]]) -> None:
    pipeline = RemotePipeline("http://127.0.0.1:9/v1#shapes")
    assert (pipeline.class_names, pipeline.sizes, pipeline.spec_id) == (("circle", "star"), ((4, 6),), "abc")
    assert pipeline.tokenizer.spec_id == "abc"
    x = pipeline.generate([0, 1, 0], 7, 5, 2.5, batch=3)
    expected = torch.stack([torch.from_numpy(picture(i % 2, 7 + i)) for i in range(3)]).permute(0, 3, 1, 2)
    assert torch.equal(((x + 1) * 127.5).round().to(torch.uint8), expected)
    first = sorted(asked, key=lambda one: one["seed"])[0]
    assert first == {
        **{"label": 0, "seed": 7, "num_steps": 5, "guidance": 2.5, "model": "shapes", "output": "npy"},
        **{"path": GENERATE, "priority": "batch"},
    }
    assert sorted(one["seed"] for one in asked) == [7, 8, 9]


def test_what_a_server_cannot_be_asked(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="serves no generator 'other': it has shapes"):
        RemotePipeline("http://127.0.0.1:9#other")
    with pytest.raises(ValueError, match="sampler=heun"):
        RemotePipeline("http://127.0.0.1:9").generate([0], sampler="heun")
    monkeypatch.setitem(GENERATOR, "conditioning", "text")
    with pytest.raises(ValueError, match="no generator of classes"):
        RemotePipeline("http://127.0.0.1:9")
    assert asked == []
