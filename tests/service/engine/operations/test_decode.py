"""Decode: the same pixels as the tokenizer gives, cropped to the size each latent remembers."""

import io

import numpy as np
import torch

from service.engine.messages import DecodeJob
from service.engine.models import Models
from service.engine.operations import decode as module
from service.engine.operations.base import to_pixels
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
    with torch.inference_mode():
        results = operation.core([item.payload for item in prepared])
    for work, item, result in zip(works, prepared, results, strict=True):
        body = np.load(io.BytesIO(operation.after(work, item.payload, result).body))
        pixels = body if body.ndim == 4 else body[None]
        difference = np.abs(pixels.astype(int) - expected(loaded, work))
        assert difference.max() <= 1  # the last bit of a float may round either way
        assert difference.mean() < 1e-3


def test_no_pass_exceeds_the_batch_limit(loaded: Models) -> None:
    seen: list[int] = []
    tokenizer = loaded.tokenizers["tiny"]

    class Watched:
        spec, spec_id = tokenizer.spec, tokenizer.spec_id

        def decode(self, latent: Latent, **options: object) -> torch.Tensor:
            seen.append(len(latent.z if latent.parts else latent.indices["z"]))
            return tokenizer.decode(latent)

    models = Models(loaded.settings, loaded.device, loaded.dtype, {"tiny": Watched()})  # type: ignore[dict-item]
    z = torch.zeros(19, *tokenizer.spec.shape((64, 64))["z"])
    assert module.decode(models, "tiny", Latent({"z": z}, (64, 64))).shape == (19, 64, 64, 3)
    assert seen == [8, 8, 3]


def test_latents_and_indices_of_one_size_do_not_share_a_pass(loaded: Models) -> None:
    whole = job(loaded, (32, 32))
    indices = np.zeros((1, 8, 8), np.uint16)
    coded = DecodeJob(
        id=2, model="tiny", cost=1, submitted_at=0.0, parts={}, indices=indices, size=(32, 32), output="npy"
    )
    assert Decode(loaded).before(whole).key != Decode(loaded).before(coded).key
