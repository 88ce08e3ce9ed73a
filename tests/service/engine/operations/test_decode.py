"""Decode: the same pixels as the tokenizer gives, cropped to the size each latent remembers."""

import io
import json
from dataclasses import replace

import numpy as np
import torch

from service.engine.messages import Answer, Convention, DecodeJob
from service.engine.models import Models
from service.engine.operations import decode as module
from service.engine.operations.base import Pass, to_pixels
from service.engine.operations.decode import Decode
from tokenizer.spec import Latent


def job(loaded: Models, size: tuple[int, int], samples: int = 1, seed: int = 0) -> DecodeJob:
    shape = (samples, *loaded.tokenizers["tiny"].spec.shape(size)["z"])
    z = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    z.flags.writeable = False  # as a view of a body is
    return DecodeJob(id=1, model="tiny", cost=1, submitted_at=0.0, parts={"z": z}, size=size, output="npy")


def expected(loaded: Models, work: DecodeJob) -> np.ndarray:
    tokenizer = loaded.tokenizers["tiny"]
    z = torch.tensor(work.parts["z"])
    return to_pixels(tokenizer.decode(Latent({"z": z}, work.size, tokenizer.spec_id))).numpy()


def test_a_batch_of_different_sizes_equals_the_tokenizer(loaded: Models) -> None:
    works = [job(loaded, (33, 47), seed=1), job(loaded, (36, 45), 2, seed=2), job(loaded, (36, 48), seed=3)]
    operation = Decode(loaded)
    prepared = [operation.before(work) for work in works]
    assert len({item.key for item in prepared}) == 1
    assert [item.rows for item in prepared] == [1, 2, 1]
    with torch.inference_mode():
        results = operation.core([item.payload for item in prepared], Pass(4))
    for work, item, result in zip(works, prepared, results, strict=True):
        body = np.load(io.BytesIO(operation.after(work, item.payload, result).body))
        pixels = body if body.ndim == 4 else body[None]
        difference = np.abs(pixels.astype(int) - expected(loaded, work))
        assert difference.max() <= 1  # the last bit of a float may round either way
        assert difference.mean() < 1e-3


def test_every_pass_has_the_rows_of_its_bucket(loaded: Models) -> None:
    seen: list[int] = []
    tokenizer = loaded.tokenizers["tiny"]

    class Watched:
        spec, spec_id = tokenizer.spec, tokenizer.spec_id

        def decode(self, latent: Latent, **options: object) -> torch.Tensor:
            seen.append(len(latent.z if latent.parts else latent.indices["z"]))
            return tokenizer.decode(latent)

    models = Models(loaded.settings, loaded.device, loaded.dtype, {"tiny": Watched()})  # type: ignore[dict-item]
    z = torch.zeros(19, *tokenizer.spec.shape((64, 64))["z"])
    assert module.decode(models, "tiny", Latent({"z": z}, (64, 64)), Pass(8)).shape == (19, 64, 64, 3)
    assert seen == [8, 8, 8]


def answered(loaded: Models, work: DecodeJob) -> Answer:
    operation = Decode(loaded)
    prepared = operation.before(work)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload], Pass(2))
        return operation.after(work, prepared.payload, result)


def test_tensors_in_place_of_files(loaded: Models) -> None:
    """x_hat itself, brought to [0, 1], and as uint8: cropped, and all the same picture."""
    work = job(loaded, (33, 47), 2)
    tokenizer = loaded.tokenizers["tiny"]
    x_hat = tokenizer.decode(Latent({"z": torch.tensor(work.parts["z"])}, work.size, tokenizer.spec_id))
    wanted = {
        "x_hat": x_hat,
        "unit": (x_hat / 2 + 0.5).clamp(0, 1),
        "uint8": to_pixels(x_hat),
    }
    for kind, tensor in wanted.items():
        answer = answered(loaded, replace(work, tensor=kind))
        shape, dtype = json.loads(answer.headers["shape"]), getattr(torch, answer.headers["dtype"])
        read = torch.frombuffer(bytearray(answer.body), dtype=dtype).reshape(shape)
        assert (read.shape, read.dtype) == (tensor.shape, tensor.dtype)
        torch.testing.assert_close(read.float(), tensor.float(), rtol=0, atol=1 if kind == "uint8" else 1e-5)


def test_other_conventions_decode_to_the_same(loaded: Models) -> None:
    work = job(loaded, (33, 47))
    spec = loaded.tokenizers["tiny"].spec
    raw = spec.denormalize(torch.tensor(work.parts["z"]))
    expected = np.load(io.BytesIO(answered(loaded, work).body)).astype(int)
    for convention, z in (
        (Convention(), raw),
        (Convention(0.7, 0.2), (raw - 0.2) * 0.7),
        (Convention(own=True), torch.tensor(work.parts["z"])),
    ):
        body = answered(loaded, replace(work, parts={"z": z.numpy()}, convention=convention)).body
        assert np.abs(np.load(io.BytesIO(body)) - expected).max() <= 1


def test_what_is_asked_of_the_pictures_is_passed_on(loaded: Models) -> None:
    work = replace(job(loaded, (16, 16), 2), output="jpeg", bundle="zip")
    sizes = [len(answered(loaded, replace(work, quality=quality)).body) for quality in (5, 95)]
    assert sizes[0] < sizes[1]
    assert answered(loaded, work).media_type == "application/zip"


def test_floats_and_pixels_of_one_size_do_not_share_a_pass(loaded: Models) -> None:
    work = job(loaded, (32, 32))
    keys = [
        Decode(loaded).before(replace(work, tensor=kind)).key for kind in (None, "uint8", "x_hat", "unit")
    ]
    assert keys[0] == keys[1] != keys[2] == keys[3]


def test_latents_and_indices_of_one_size_do_not_share_a_pass(loaded: Models) -> None:
    whole = job(loaded, (32, 32))
    indices = np.zeros((1, 8, 8), np.uint16)
    coded = DecodeJob(
        id=2, model="tiny", cost=1, submitted_at=0.0, parts={}, indices=indices, size=(32, 32), output="npy"
    )
    assert Decode(loaded).before(whole).key != Decode(loaded).before(coded).key
