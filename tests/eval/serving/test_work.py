"""The work of a request: it is the model's own, through the codecs, alone and in batches."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load as read_safetensors
from safetensors.numpy import save as write_safetensors

import tokenizer
from eval.serving.bodies import npy, picture, picture_file
from eval.serving.work import Work, WorkConfig


def work(folder: Path, operation: str, output: str = "npy", **more: object) -> Work:
    return Work(
        WorkConfig.parse(
            {"operation": operation, "tokenizer": folder, "output": output, "max_batch": 2} | more
        )
    )


def array(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body))


def test_encode_decode_and_reconstruct_are_the_models_own(tokenizer_folder: Path) -> None:
    model = tokenizer.load(tokenizer_folder)
    pictures = [picture(16, 24, seed) for seed in range(3)]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latent = model.encode(x)
    encoded = work(tokenizer_folder, "encode").run([npy(one) for one in pictures])
    latents = [read_safetensors(body)["z"] for body in encoded]
    np.testing.assert_allclose(np.concatenate(latents), latent.z.numpy(), atol=1e-5)
    x_hat = ((model.decode(latent) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    decoded = work(tokenizer_folder, "decode").run([write_safetensors({"z": z}) for z in latents])
    whole = work(tokenizer_folder, "reconstruct").run([npy(one) for one in pictures])
    for made in (decoded, whole):
        np.testing.assert_allclose(np.stack([array(body) for body in made]).astype(float), x_hat, atol=1)


def test_pictures_come_and_go_as_jpeg(tokenizer_folder: Path) -> None:
    one = work(tokenizer_folder, "reconstruct", "jpeg")
    (body,) = one.run([picture_file(picture(16, 24, 0), "JPEG")])
    with Image.open(io.BytesIO(body)) as image:
        assert (image.format, image.size) == ("JPEG", (24, 16))
    assert one.config.media_type == "image/jpeg"


def test_generate_gives_each_request_its_seed(tokenizer_folder: Path, generator_folder: Path) -> None:
    one = work(tokenizer_folder, "generate", generator=generator_folder, num_steps=2)
    bodies = [json.dumps({"label": label, "seed": seed}).encode() for label, seed in ((0, 1), (1, 2), (0, 1))]
    first, second, third = (array(body) for body in one.run(bodies))
    assert first.shape == (32, 32, 3)
    assert np.abs(first.astype(int) - third).max() <= 1  # the last one ran alone
    assert np.abs(first.astype(int) - second).max() > 1


def test_the_answer_says_what_it_is(tokenizer_folder: Path) -> None:
    config = WorkConfig.parse({"operation": "encode", "tokenizer": tokenizer_folder})
    assert config.media_type == "application/vnd.safetensors"
    with pytest.raises(ValueError, match="operation"):
        WorkConfig.parse({"operation": "paint", "tokenizer": tokenizer_folder})
