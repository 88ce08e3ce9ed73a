"""Two tokenizers of different families, and a job that trains a generator of one block on each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eval.downstream.settings import DownstreamConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import save_folder

SMALL = {"width": 16, "depth": 1, "heads": 2}
ROW = {"kind": "query1d", "tokens": 6, "latent_channels": 4, "patch": 8, "learned_side": 4}


@pytest.fixture(scope="session")
def row_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tokens of four channels, random, with statistics."""
    config = TokenizerConfig.parse({"backbone": ROW | {"encoder": SMALL, "decoder": SMALL}})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = config.build()
    spec = model.spec.with_statistics({"z": ([0.0] * 4, [0.5] * 4)})
    folder = tmp_path_factory.mktemp("models") / "row"
    tree = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    save_folder(folder, tree, {"model": model.state_dict()})
    return folder


@pytest.fixture
def tree(
    tokenizer_folder: Path, row_tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """A job of a grid and a row for 16 latents of 32 x 32; keyword arguments replace keys."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "members": [
                {"label": "grid", "source": str(tokenizer_folder)},
                {"label": "row", "source": str(row_tokenizer_folder)},
            ],
            "data": {"path": str(pictures_folder), "validation": str(pictures_folder), "num_workers": 0},
            "out": str(tmp_path / "out"),
            "overrides": ["model.depth=1", "model.width=16", "model.heads=2"],
            "images": 16,
            "batch": 8,
            "resolution": 32,
            "num_samples": 6,
            "num_steps": 2,
            "gallery": 3,
            "device": "cpu",
        } | changes

    return make


@pytest.fixture
def config(tree: Callable[..., dict[str, Any]]) -> Callable[..., DownstreamConfig]:
    """The same, parsed."""

    def make(**changes: Any) -> DownstreamConfig:
        return DownstreamConfig.parse(tree(**changes))

    return make
