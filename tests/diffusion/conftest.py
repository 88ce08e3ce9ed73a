"""A tiny tokenizer on disk, pictures made here, and their latents."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.latents import LatentsConfig, encode_folder
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import load

CLASSES = ("circles", "noise", "stripes")


def write_pictures(folder: Path, per_class: int = 4, side: int = 24) -> Path:
    """A folder of three classes of pictures of ``side`` pixels."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = np.random.default_rng([label, index]).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def write_tokenizer(folder: Path, seed: int = 0) -> Path:
    """An f4c8 tokenizer with random weights and made-up statistics."""
    config = TokenizerConfig.parse(
        {
            "backbone": {
                "kind": "dcae",
                "latent_channels": 8,
                "widths": [8, 8, 16],
                "encoder_depths": [1, 1, 1],
                "decoder_depths": [1, 1, 1],
                "blocks": ["res"] * 3,
                "decoder_norms": ["rms"] * 3,
                "decoder_activations": ["silu"] * 3,
            }
        }
    )
    torch.manual_seed(seed)
    model = config.build()
    spec = model.spec.with_statistics({"z": ([0.1] * 8, [0.5] * 8)})
    settings = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    checkpoint.save_folder(folder, settings, {"model": model.state_dict()})
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "f4c8")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "shapes")


@pytest.fixture
def latents_config(tokenizer_folder: Path, pictures: Path, tmp_path: Path) -> Callable[..., LatentsConfig]:
    def make(**settings: object) -> LatentsConfig:
        tree = {
            "tokenizer": str(tokenizer_folder),
            "data": {"path": pictures, "resolution": 16, "num_workers": 0},
            "out": tmp_path / "latents",
            "batch": 2,
            "shard_images": 5,
            "device": "cpu",
        }
        return LatentsConfig.parse(tree | settings)

    return make


@pytest.fixture(scope="session")
def latents_folder(tokenizer_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures and their mirrored copies as (8, 4, 4) latents."""
    config = LatentsConfig.parse(
        {
            "tokenizer": str(tokenizer_folder),
            "data": {"path": pictures, "resolution": 16, "num_workers": 0},
            "out": tmp_path_factory.mktemp("latents") / "shapes",
            "flip": True,
            "shard_images": 5,
            "device": "cpu",
        }
    )
    encode_folder(load(tokenizer_folder), config)
    return config.out
