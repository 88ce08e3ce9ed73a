"""A tokenizer whose network is nearly free: what is left when it is served is the server.

An ordinary model folder that any server here loads like any other: patches of 64 x 64 pixels through one linear map
and one transformer block of width 8, about 0.1 million multiply-adds a patch and direction, random weights. Nothing in
the service knows of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

PATCH = 64
CHANNELS = 8
_SIZE = {"width": 8, "depth": 1, "heads": 1}
CONFIG = {
    "backbone": {
        "kind": "vit",
        "latent_channels": CHANNELS,
        "patch": PATCH,
        "encoder": _SIZE,
        "decoder": _SIZE,
        "positions": "sincos",
    },
    "bottleneck": {"kind": "identity"},
}


def save_free_tokenizer(folder: Path) -> Path:
    """Write it, with random weights and statistics of zero and one."""
    return save_random_tokenizer(folder, TokenizerConfig.parse(CONFIG))


def save_random_tokenizer(folder: Path, config: TokenizerConfig, seed: int = 0) -> Path:
    """A tokenizer folder with random weights: for speed, which does not depend on them, never for pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = config.build()
    parts = {part.name: ([0.0] * part.channels, [1.0] * part.channels) for part in model.spec.parts}
    settings = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": model.spec.with_statistics(parts).model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    checkpoint.save_folder(folder, settings, {"model": model.state_dict()})
    return folder
