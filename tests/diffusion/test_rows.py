"""Latents that are rows of tokens: encoded, trained on, generated and decoded like grids."""

from pathlib import Path

import pytest
import torch

from diffusion.convert import to_diffusers
from diffusion.latents import LatentFolder, LatentsConfig, encode_folder
from diffusion.model_folder import read_record
from diffusion.pipeline import Pipeline
from diffusion.train import train
from diffusion.training import TrainConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import load
from tokenizer.spec import Latent

SMALL = {"width": 16, "depth": 1, "heads": 2}
ROW = {"kind": "query1d", "tokens": 6, "min_tokens": 2, "latent_channels": 4, "patch": 8, "learned_side": 2}


@pytest.fixture(scope="module")
def row_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tokens of four channels, random weights, made-up statistics."""
    config = TokenizerConfig.parse({"backbone": ROW | {"encoder": SMALL, "decoder": SMALL}})
    torch.manual_seed(0)
    model = config.build()
    spec = model.spec.with_statistics({"z": ([0.1] * 4, [0.5] * 4)})
    settings = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    folder = tmp_path_factory.mktemp("tokenizer") / "row"
    checkpoint.save_folder(folder, settings, {"model": model.state_dict()})
    return folder


@pytest.fixture(scope="module")
def run(row_tokenizer: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator trained for two steps on such latents."""
    folder = tmp_path_factory.mktemp("rows")
    data = {"path": pictures, "resolution": 16, "num_workers": 0}
    config = {"tokenizer": str(row_tokenizer), "data": data, "out": folder / "latents", "device": "cpu"}
    encode_folder(load(row_tokenizer), LatentsConfig.parse(config))
    assert LatentFolder(folder / "latents").info.latent_shape == (4, 6)
    settings = {
        "latents": folder / "latents",
        "out": folder / "run",
        "model": {"kind": "dit", "depth": 1, "width": 16, "heads": 2},
        "images": 8,
        "batch": 4,
        "ema_half_life": 4,
        "show_every": 0,
        "log_every": 0,
    }
    train(TrainConfig.parse(settings))
    return folder / "run"


def test_a_generator_of_rows_decodes_to_pictures(run: Path, row_tokenizer: Path) -> None:
    pipeline = Pipeline.load(run, tokenizer=row_tokenizer)
    latent = pipeline.generate(["noise", "circles"], seed=0, num_steps=2, output="latent")
    assert isinstance(latent, Latent)
    assert latent.z.shape == (2, 4, 6)
    pixels = pipeline.generate(["noise", "circles"], seed=0, num_steps=2, output="pixels")
    assert isinstance(pixels, torch.Tensor)
    assert pixels.shape == (2, 3, 16, 16)
    one = pipeline.generate("circles", seed=1, num_steps=2, output="pixels")
    assert torch.allclose(one, pixels[1:], atol=1e-5)


def test_a_picture_may_be_given_but_no_mask(run: Path, row_tokenizer: Path) -> None:
    pipeline = Pipeline.load(run, tokenizer=row_tokenizer)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    pixels = pipeline.image_to_image(x, "noise", num_steps=4, strength=0.5, output="pixels")
    assert isinstance(pixels, torch.Tensor)
    assert pixels.shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="a mask needs latents on a grid"):
        pipeline.image_to_image(x, "noise", num_steps=4, mask=torch.ones(1, 1, 16, 16))


def test_rows_do_not_export_to_diffusers(run: Path) -> None:
    folder = checkpoint.resolve(run)
    record = read_record(folder)
    state = checkpoint.load_tensors(checkpoint.weights_path(folder))
    with pytest.raises(ValueError, match="square latents, this model rows of tokens"):
        to_diffusers(record.model, record.latent_shape, len(record.class_names), state)
