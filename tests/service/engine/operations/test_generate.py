"""Generate: what the pipeline makes, whatever is asked beside it."""

import base64
import io
import json
from typing import Any

import numpy as np
import torch

from service import wire
from service.engine.messages import Answer, GenerateJob
from service.engine.models import Models
from service.engine.operations.base import to_pixels
from service.engine.operations.generate import Generate
from tests.service.conftest import as_pixels


def run(loaded: Models, **options: Any) -> Answer:
    settings = {"label": 1, "num_images": 1, "num_steps": 3, "guidance": 2.0, "seed": 5, "output": "npy"}
    job = GenerateJob(id=1, model="shapes", cost=1, submitted_at=0.0, size=(32, 32), **(settings | options))
    operation = Generate(loaded)
    prepared = operation.before(job)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload])
        return operation.after(job, prepared.payload, result)


def test_equals_the_pipeline(loaded: Models) -> None:
    expected = loaded.pipelines["shapes"].generate([1, 1], seed=5, num_steps=3, guidance=2.0, output="latent")
    parts, metadata = wire.read_safetensors(run(loaded, num_images=2, output="latent").body)
    assert metadata == {"size": "32,32", "spec_id": expected.spec_id, "seed": "5"}
    torch.testing.assert_close(torch.tensor(parts["z"]), expected.z, rtol=0, atol=1e-5)
    pixels = to_pixels(loaded.tokenizers["tiny"].decode(expected)).numpy()
    answer = run(loaded, num_images=2)
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.body)), pixels)
    assert answer.headers["x-tessera-seed"] == "5"


def test_same_seed_same_bytes_and_other_seeds_labels_guidance_differ(loaded: Models) -> None:
    first = run(loaded).body
    assert run(loaded).body == first
    for change in ({"seed": 6}, {"label": 2}, {"guidance": 4.0}, {"num_steps": 4}):
        assert run(loaded, **change).body != first


def test_picture_i_starts_from_seed_plus_i(loaded: Models) -> None:
    pair = np.load(io.BytesIO(run(loaded, num_images=2).body))
    second = np.load(io.BytesIO(run(loaded, seed=6).body))
    assert np.abs(pair[1].astype(int) - second).max() <= 1


def test_several_come_as_json(loaded: Models) -> None:
    answer = json.loads(run(loaded, num_images=3, output="png").body)
    assert (answer["seed"], answer["size"], len(answer["data"])) == (5, [32, 32], 3)
    assert as_pixels(base64.b64decode(answer["data"][2]["b64"])).shape == (32, 32, 3)


def test_requests_never_share_a_pass(loaded: Models) -> None:
    settings = {"label": 1, "num_images": 1, "num_steps": 3, "guidance": 2.0, "seed": 5, "output": "npy"}
    jobs = [
        GenerateJob(id=number, model="shapes", cost=1, submitted_at=0.0, size=(32, 32), **settings)
        for number in (1, 2)
    ]
    keys = {Generate(loaded).before(job).key for job in jobs}
    assert len(keys) == 2
