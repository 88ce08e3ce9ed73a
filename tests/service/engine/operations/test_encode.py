"""Encode: the same latent as the tokenizer gives, in every format."""

import io
from typing import Any

import numpy as np
import pytest
import torch

from service import wire
from service.engine.messages import Answer, EncodeJob
from service.engine.models import Models
from service.engine.operations.encode import Encode
from tests.service.conftest import as_file, as_pixels, picture


def run(loaded: Models, pixels: np.ndarray, **options: Any) -> Answer:
    settings = {"format": "safetensors", "view": "rgb"} | options
    job = EncodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, body=as_file(pixels), **settings)
    operation = Encode(loaded)
    prepared = operation.before(job)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload])
        return operation.after(job, prepared.payload, result)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (1, 1), (150, 140)])
def test_equals_the_tokenizer(loaded: Models, size: tuple[int, int]) -> None:
    pixels = picture(*size)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    padded = loaded.tokenizers["tiny"].spec.padded(size)
    expected = loaded.tokenizers["tiny"].encode(x, tiles=loaded.tiles(padded))
    answer = run(loaded, pixels)
    parts, metadata = wire.read_safetensors(answer.body)
    assert metadata == {"size": wire.write_size(size), "spec_id": expected.spec_id}
    torch.testing.assert_close(torch.tensor(parts["z"]), expected.z, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(np.load(io.BytesIO(run(loaded, pixels, format="npy").body)), parts["z"])


def test_headers_say_sizes_in_bytes(loaded: Models) -> None:
    pixels = picture(33, 47)
    headers = run(loaded, pixels).headers
    assert headers["x-tessera-size"] == "33,47"
    assert headers["x-tessera-source-bytes"] == str(len(as_file(pixels)))
    assert headers["x-tessera-pixel-bytes"] == str(33 * 47 * 3)
    assert headers["x-tessera-latent-bytes"] == str(8 * 9 * 12 * 2)  # 16 bits a value


@pytest.mark.parametrize(("view", "shape"), [("rgb", (9, 12)), ("channels", (29, 38))])
def test_as_a_picture(loaded: Models, view: str, shape: tuple[int, int]) -> None:
    answer = run(loaded, picture(33, 47), format="png", view=view)
    assert answer.media_type == "image/png"
    assert as_pixels(answer.body).shape[:2] == shape


def test_pictures_of_one_padded_size_share_a_pass(loaded: Models) -> None:
    def key(*size: int) -> object:
        body = as_file(picture(*size))
        job = EncodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, body=body, format="npy", view="rgb")
        return Encode(loaded).before(job).key

    assert key(33, 47) == key(36, 48)
    assert key(33, 47) != key(37, 47)
