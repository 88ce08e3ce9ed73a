"""Generate: what the pipeline makes, whatever is asked beside it."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from service import wire
from service.engine.batching import Prepared
from service.engine.messages import Answer, GenerateJob
from service.engine.models import Models
from service.engine.operations.base import Pass, to_pixels
from service.engine.operations.generate import Generate, Made
from service.engine.stepping import Stepping
from service.engine.worker import make_costs
from service.errors import NotAnImage
from tests.service.conftest import as_file, as_pixels, picture
from tokenizer.projection import Projection


def job(number: int = 1, **options: Any) -> GenerateJob:
    settings = {"label": 1, "num_images": 1, "num_steps": 3, "guidance": 2.0, "seed": 5, "output": "npy"}
    return GenerateJob(
        id=number, model="shapes", cost=1, submitted_at=0.0, size=(32, 32), **(settings | options)
    )


def run(loaded: Models, **options: Any) -> Answer:
    """All stages of one request, one after the other."""
    work, operation = job(**options), Generate(loaded)
    prepared = operation.before(work)
    assert (prepared.stepped, prepared.rows, prepared.pixels) == (True, work.num_images, 32 * 32)
    steps: Stepping[str] = Stepping(
        loaded.pipelines["shapes"], make_costs(loaded.settings), prepared.kind, prepared.pixels
    )
    with torch.inference_mode():
        assert steps.join("mine", prepared.payload, arrived=0.0) == []
        while not (finished := steps.tick().finished):
            pass
        z = torch.stack([slot.z for slot in finished[0].slots])
        made = operation.made(work, z, prepared.payload, finished[0].given)
        if isinstance(made, Made):
            return operation.after(work, made, None)
        assert made.kind == ("decode", "tiny")
        (result,) = operation.core([made.payload], Pass(2))
        return operation.after(work, made.payload, result)


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


def test_requests_of_one_model_share_their_steps_and_their_decoding(loaded: Models) -> None:
    operation = Generate(loaded)
    first, second = job(1), job(2, num_steps=9, guidance=1.0, num_images=2, seed=9)
    assert operation.before(first).key == operation.before(second).key
    z = torch.randn(3, 8, 8, 8)
    made = [
        operation.made(work, rows, operation.before(work).payload, None)
        for work, rows in ((first, z[:1]), (second, z[1:]))
    ]
    assert isinstance(made[0], Prepared)
    assert isinstance(made[1], Prepared)
    assert made[0].key == made[1].key
    with torch.inference_mode():
        results = operation.core([made[0].payload, made[1].payload], Pass(4))
        expected = to_pixels(loaded.tokenizers["tiny"].decode(loaded.pipelines["shapes"].latent(z)))
    assert [len(result) for result in results] == [1, 2]
    assert (torch.cat(list(results)).int() - expected.int()).abs().max() <= 1


def half_mask() -> np.ndarray:
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[:, :16] = 255
    return mask


def test_a_picture_to_start_from_is_what_the_pipeline_makes_of_it(loaded: Models) -> None:
    given, mask = picture(32, 32), half_mask()
    pipeline = loaded.pipelines["shapes"]
    for options, extra in (
        ({"strength": 0.67}, {}),
        ({"strength": 0.67, "mask": as_file(mask)}, {"mask": Image.fromarray(mask)}),
    ):
        body = run(loaded, init=as_file(given), num_images=2, **options).body
        expected = pipeline.image_to_image(
            Image.fromarray(given), [1, 1], 5, 3, 2.0, strength=0.67, output="pixels", **extra
        )
        difference = np.load(io.BytesIO(body)).astype(int) - to_pixels(expected).numpy()
        assert np.abs(difference).max() <= 1


def test_what_lies_outside_of_the_mask_is_exactly_the_reconstruction(loaded: Models) -> None:
    options = {"init": as_file(picture(32, 32)), "mask": as_file(half_mask())}
    outside = [
        np.load(io.BytesIO(run(loaded, seed=seed, strength=strength, **options).body))[:, 16:]
        for seed, strength in ((5, 1.0), (6, 0.7), (5, 0.0))
    ]
    np.testing.assert_array_equal(outside[0], outside[1])
    np.testing.assert_array_equal(outside[0], outside[2])


def test_bad_pictures_are_refused(loaded: Models) -> None:
    with pytest.raises(NotAnImage):
        Generate(loaded).before(job(init=b"hello"))
    with pytest.raises(NotAnImage):
        Generate(loaded).before(job(init=as_file(picture(8, 8)), mask=b"hello"))


def test_a_preview_is_a_small_jpeg_of_where_it_is_heading(
    loaded: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = Generate(loaded)
    z = torch.randn(1, 8, 8, 8)
    monkeypatch.setattr(loaded.tokenizers["tiny"], "projection", None)
    assert operation.preview(job(), lambda: z) is None  # nobody has fitted colours
    colours = Projection(weights=((0.5,) * 8,) * 3, bias=(0.0, 0.0, 0.0), explained=0.5)
    monkeypatch.setattr(loaded.tokenizers["tiny"], "projection", colours)
    shown = operation.preview(job(), lambda: z)
    assert shown is not None
    assert shown.startswith(b"\xff\xd8\xff")
    assert as_pixels(shown).shape == (32, 32, 3)
    mean = colours.pixels(z).float().mean()
    assert abs(as_pixels(shown).mean() - float(mean)) < 12
