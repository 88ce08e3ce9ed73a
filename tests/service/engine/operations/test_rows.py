"""Rows of tokens and decoders that draw, through the worker's operations: as the library gives them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from service.engine.decoding import Decoding
from service.engine.messages import DecodeJob, EncodeJob, ReconstructJob
from service.engine.models import Models
from service.engine.operations.base import Pass, to_pixels
from service.engine.operations.decode import Decode
from service.engine.operations.encode import Encode
from service.engine.operations.reconstruct import Reconstruct
from service.wire import read_safetensors
from tests.service.conftest import as_file, picture
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent

BODY = {"width": 16, "depth": 1, "heads": 2}
DRAWN = {
    "kind": "semanticist", "latent_channels": 4, "tokens": 6, "encoder_patch": 8, "decoder_patch": 8,
    "learned_side": 2, "encoder": BODY, "decoder": BODY, "steps": 2,
}  # fmt: skip
CODED = {
    "kind": "query1d", "latent_channels": 4, "tokens": 6, "min_tokens": 2, "patch": 8, "learned_side": 2,
    "encoder": BODY, "decoder": BODY,
}  # fmt: skip


def build(backbone: dict[str, object], bottleneck: dict[str, object]) -> Autoencoder:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": backbone, "bottleneck": bottleneck}).build()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    with torch.no_grad():
        for parameter in model.parameters():  # gates and heads start at 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def rows(loaded: Models) -> Models:
    tokenizers = {
        "drawn": build(DRAWN, {"kind": "identity"}),
        "coded": build(CODED, {"kind": "vq", "codebook_size": 16}),
    }
    return Models(loaded.settings, loaded.device, loaded.dtype, tokenizers)  # type: ignore[arg-type]


def encode_job(model: str, *, num_tokens: int | None = None, **changes: object) -> EncodeJob:
    settings = {"format": "safetensors", "view": "rgb"} | changes
    return EncodeJob(
        id=1, model=model, cost=1, submitted_at=0.0, body=as_file(picture(21, 30)), num_tokens=num_tokens,
        **settings,  # type: ignore[arg-type]  # as above
    )  # fmt: skip


def decode_job(model: str, parts: dict[str, np.ndarray], **changes: object) -> DecodeJob:
    return DecodeJob(
        id=1, model=model, cost=1, submitted_at=0.0, parts=parts, size=(21, 30), output="npy", **changes  # type: ignore[arg-type]
    )  # fmt: skip


def run(operation: Encode | Decode | Reconstruct, *jobs: object) -> list[tuple[bytes, dict[str, str]]]:
    prepared = [operation.before(job) for job in jobs]  # type: ignore[arg-type]  # of this operation
    assert len({item.key for item in prepared}) == 1
    with torch.inference_mode():
        results = operation.core([item.payload for item in prepared], Pass(2))  # type: ignore[arg-type]
        answers = [
            operation.after(job, item.payload, result)  # type: ignore[arg-type]
            for job, item, result in zip(jobs, prepared, results, strict=True)
        ]
    return [(answer.body, answer.headers) for answer in answers]


def test_the_first_tokens_are_encoded_and_told_at_their_rate(rows: Models) -> None:
    whole, headers = run(Encode(rows), encode_job("drawn"))[0]
    short, few = run(Encode(rows), encode_job("drawn", num_tokens=3))[0]
    z = read_safetensors(whole)[0]["z"]
    assert z.shape == (1, 4, 6)
    np.testing.assert_array_equal(read_safetensors(short)[0]["z"], z[:, :, :3])
    assert int(few["x-tessera-latent-bytes"]) == int(headers["x-tessera-latent-bytes"]) // 2


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(num_tokens=2), Decoding(num_steps=5), Decoding(num_tokens=4, seed=3)]
)
def test_decoding_is_the_librarys(rows: Models, decoding: Decoding) -> None:
    z = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    (body, _), _ = run(Decode(rows), *(decode_job("drawn", {"z": row[None]}, decoding=decoding) for row in z))
    seed = None if decoding.seed is None else torch.Generator().manual_seed(decoding.seed)
    x_hat = rows.tokenizers["drawn"].decode(
        Latent({"z": torch.tensor(z[:1])}, (21, 30)),
        generator=seed, num_steps=decoding.num_steps, num_tokens=decoding.num_tokens,
    )  # fmt: skip
    difference = np.abs(np.load(io.BytesIO(body)).astype(int) - to_pixels(x_hat)[0].numpy())
    assert difference.max() <= 1


def test_what_cannot_share_a_pass_has_keys_of_its_own(rows: Models) -> None:
    def key(count: int, **wishes: int) -> object:
        job = decode_job("drawn", {"z": np.zeros((1, 4, count), np.float32)}, decoding=Decoding(**wishes))
        return Decode(rows).before(job).key

    keys = [key(5), key(6), key(5, num_tokens=3), key(5, num_steps=2), key(5, seed=1), key(5, seed=2)]
    assert len(set(keys)) == len(keys)
    assert key(5, seed=2) == keys[-1]


def test_reconstruction_is_both_one_after_the_other(rows: Models) -> None:
    decoding = Decoding(num_tokens=3, num_steps=3, seed=5)
    job = ReconstructJob(
        id=1, model="drawn", cost=1, submitted_at=0.0, body=as_file(picture(21, 30)), output="npy",
        decoding=decoding,
    )  # fmt: skip
    body, _ = run(Reconstruct(rows), job)[0]
    encoded, _ = run(Encode(rows), encode_job("drawn", num_tokens=3))[0]
    parts = {"z": read_safetensors(encoded)[0]["z"]}
    apart, _ = run(Decode(rows), decode_job("drawn", parts, decoding=decoding))[0]
    difference = np.load(io.BytesIO(body)).astype(int) - np.load(io.BytesIO(apart))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("drawn", {"view": "rgb"}),
        ("drawn", {"view": "channels"}),
        ("coded", {"view": "rgb"}),
        ("coded", {"what": "indices"}),
    ],
)
@pytest.mark.parametrize("num_tokens", [None, 2])
def test_rows_have_pictures_too(
    rows: Models, model: str, changes: dict[str, str], num_tokens: int | None
) -> None:
    body, _ = run(Encode(rows), encode_job(model, num_tokens=num_tokens, format="png", **changes))[0]
    with Image.open(io.BytesIO(body)) as image:
        if changes.get("view") == "channels":
            assert image.mode == "L"
        else:
            assert image.size == (num_tokens or 6, 1)


def test_shorter_rows_of_codes_decode(rows: Models) -> None:
    body, _ = run(Encode(rows), encode_job("coded", num_tokens=4, what="indices"))[0]
    indices = read_safetensors(body)[0]["indices"]
    assert indices.shape == (1, 4)
    decoded, _ = run(Decode(rows), decode_job("coded", {}, indices=indices))[0]
    tokenizer = rows.tokenizers["coded"]
    x_hat = tokenizer.decode(Latent({}, (21, 30), indices={"z": torch.tensor(indices.astype(np.int64))}))
    difference = np.load(io.BytesIO(decoded)).astype(int) - to_pixels(x_hat)[0].numpy()
    assert np.abs(difference).max() <= 1
