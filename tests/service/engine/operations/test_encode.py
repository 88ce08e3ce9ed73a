"""Encode: the same latent as the tokenizer gives, in every format."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service import wire
from service.engine.messages import Answer, Convention, DecodeJob, EncodeJob
from service.engine.models import Models, load
from service.engine.operations.base import Pass, from_pixels, pad_edges, to_pixels
from service.engine.operations.decode import Decode
from service.engine.operations.encode import Encode
from service.errors import WrongShape
from service.latent_picture import index_maps
from tests.service.conftest import as_file, as_pixels, make_tokenizer, picture
from tests.service.engine.conftest import worker_settings


def run(loaded: Models, pixels: np.ndarray, **options: Any) -> Answer:
    settings = {"format": "safetensors", "view": "rgb", "body": as_file(pixels)} | options
    job = EncodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, **settings)
    operation = Encode(loaded)
    prepared = operation.before(job)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload], Pass(1))
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


def latents(answer: Answer) -> np.ndarray:
    return wire.read_safetensors(answer.body)[0]["z"]


def test_several_pictures_are_several_rows(loaded: Models) -> None:
    """Files or pixels, in passes of fewer rows than there are: each row is the picture's own latent."""
    pixels = np.stack([picture(33, 47, seed) for seed in range(3)])
    alone = np.concatenate([latents(run(loaded, item)) for item in pixels])
    files = run(loaded, pixels[0], body=tuple(as_file(item) for item in pixels))
    numbers = run(loaded, pixels[0], body=pixels)
    np.testing.assert_allclose(latents(files), alone, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(latents(numbers), latents(files))
    assert files.headers["x-tessera-source-bytes"] == str(sum(len(as_file(item)) for item in pixels))
    assert numbers.headers["x-tessera-source-bytes"] == str(pixels.nbytes)
    assert files.headers["x-tessera-pixel-bytes"] == str(3 * 33 * 47 * 3)
    assert files.headers["x-tessera-latent-bytes"] == str(3 * 8 * 9 * 12 * 2)


def test_a_request_of_several_rows_shares_passes_with_others(loaded: Models) -> None:
    pixels = np.stack([picture(33, 47, seed) for seed in range(3)])
    works = [
        EncodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, body=body, format="safetensors", view="rgb")
        for body in (pixels[:2], as_file(pixels[2]))
    ]
    operation = Encode(loaded)
    prepared = [operation.before(work) for work in works]
    assert prepared[0].key == prepared[1].key
    assert [(item.rows, item.cost) for item in prepared] == [(2, 2 * 36 * 48), (1, 36 * 48)]
    with torch.inference_mode():
        results = operation.core([item.payload for item in prepared], Pass(4))
    for work, item, result, expected in zip(works, prepared, results, (pixels[:2], pixels[2:]), strict=True):
        z = latents(operation.after(work, item.payload, result))
        np.testing.assert_allclose(z, latents(run(loaded, expected[0], body=expected)), rtol=0, atol=1e-5)


def test_files_that_turn_out_of_another_size_are_refused(loaded: Models) -> None:
    with pytest.raises(WrongShape, match="one size"):
        run(loaded, picture(8, 8), body=(as_file(picture(8, 8)), as_file(picture(8, 12))))


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_floats_are_encoded_unrounded(loaded: Models, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
    tokenizer = loaded.tokenizers["tiny"]
    answer = run(loaded, picture(8, 8), body=x)
    np.testing.assert_allclose(
        latents(answer), tokenizer.encode(torch.tensor(x)).z.numpy(), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("file_format", ["safetensors", "npy", "raw"])
def test_every_format_and_type_is_that_latent(loaded: Models, file_format: str, dtype: str) -> None:
    pixels = picture(33, 47)
    z = latents(run(loaded, pixels))
    answer = run(loaded, pixels, format=file_format, dtype=dtype)
    read = wire.read_latent(answer.body, answer.headers)
    assert (read.size, read.spec_id) == ("33,47", loaded.tokenizers["tiny"].spec_id)
    expected = wire.write_latent({"z": z}, {}, file_format="raw", dtype=dtype)  # type: ignore[arg-type]
    same = wire.read_latent(expected.body, expected.headers)
    np.testing.assert_array_equal(read.parts["z"].numbers(), same.parts["z"].numbers())


def test_raw_latents_for_diffusers_clients(loaded: Models) -> None:
    pixels = picture(32, 48)
    spec = loaded.tokenizers["tiny"].spec
    raw = spec.denormalize(torch.tensor(latents(run(loaded, pixels))))
    for convention, expected in ((Convention(), raw), (Convention(0.5, 0.25), (raw - 0.25) * 0.5)):
        answer = run(loaded, pixels, convention=convention)
        assert (answer.headers["shape"], answer.headers["dtype"]) == ("[1, 8, 8, 12]", "float32")
        read = torch.frombuffer(bytearray(answer.body), dtype=torch.float32).reshape(raw.shape)
        torch.testing.assert_close(read, expected, rtol=0, atol=1e-5)


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


BOTTLENECKS: dict[str, dict[str, Any]] = {
    "fsq": {"kind": "fsq", "levels": [3] * 8},
    "residual": {"kind": "residual_vq", "codebook_size": 16, "num_codebooks": 3},
    "scales": {"kind": "multiscale_vq", "codebook_size": 32, "scales": [1, 2, 4], "num_phi": 2},
    "bits": {"kind": "lfq"},
}


@pytest.mark.parametrize("kind", BOTTLENECKS)
def test_indices_go_out_and_come_back(kind: str, tmp_path: Path) -> None:
    """What the wire, the encode and the decode operation make of codes is what the tokenizer makes of them."""
    folder = make_tokenizer(tmp_path / kind, 5, bottleneck=BOTTLENECKS[kind])
    models = load(worker_settings({"tiny": folder}))
    tokenizer, pixels = models.tokenizers["tiny"], picture(33, 47)
    padded = tokenizer.spec.padded((33, 47))
    x = from_pixels([torch.from_numpy(pad_edges(pixels, padded, first=0))], models.device, models.dtype)
    with torch.inference_mode():
        latent = tokenizer.encode(x)
    answer = run(models, pixels, what="indices")
    tensors, metadata = wire.read_safetensors(answer.body)
    part = tokenizer.spec.z
    assert tensors.keys() == {"indices"}
    assert tensors["indices"].dtype == part.index_dtype
    assert tensors["indices"].shape == (1, *part.index_shape(padded))
    np.testing.assert_array_equal(tensors["indices"], latent.indices["z"])
    assert metadata == {
        "size": "33,47",
        "spec_id": tokenizer.spec_id,
        "codebook_size": str(part.codebook_size),
        "num_codebooks": str(part.num_codebooks),
    }
    bits = math.log2(part.codebook_size or 0) * math.prod(part.index_shape(padded))
    assert answer.headers["x-tessera-latent-bytes"] == str(math.ceil(bits / 8))
    npy = np.load(io.BytesIO(run(models, pixels, what="indices", format="npy").body))
    np.testing.assert_array_equal(npy, tensors["indices"])
    shown = as_pixels(run(models, pixels, what="indices", format="png").body)
    np.testing.assert_array_equal(shown, index_maps(tensors["indices"][0], part, padded))

    checked = wire.check(
        wire.read_latent(answer.body, {}), tokenizer.spec, tokenizer.spec_id, max_pixels=10**6, max_batch=2
    )
    operation = Decode(models)
    job = DecodeJob(
        id=2,
        model="tiny",
        cost=1,
        submitted_at=0.0,
        parts={},
        indices=checked.indices,
        size=(33, 47),
        output="npy",
    )
    prepared = operation.before(job)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload], Pass(1))
        expected = to_pixels(tokenizer.decode(latent))[0, :33, :47].numpy()
    back = np.load(io.BytesIO(operation.after(job, prepared.payload, result).body))
    assert np.abs(back.astype(int) - expected).max() <= 1  # normalising and back may round the last bit


def test_pictures_of_one_padded_size_share_a_pass(loaded: Models) -> None:
    def key(*size: int) -> object:
        body = as_file(picture(*size))
        job = EncodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, body=body, format="npy", view="rgb")
        return Encode(loaded).before(job).key

    assert key(33, 47) == key(36, 48)
    assert key(33, 47) != key(37, 47)
