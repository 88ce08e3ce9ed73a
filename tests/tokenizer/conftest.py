"""Small models and runs that several tests of the tokenizer share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenizer.config import TokenizerConfig

BACKBONE: dict[str, Any] = {
    "kind": "dcae",
    "latent_channels": 4,
    "widths": [8, 8, 16],
    "encoder_depths": [0, 1, 1],
    "decoder_depths": [0, 1, 1],
    "blocks": ["res", "res", "efficientvit"],
    "decoder_norms": ["rms", "batch", "rms"],
    "decoder_activations": ["silu", "relu", "silu"],
    "head_dim": 8,
}


@pytest.fixture
def tiny_config() -> TokenizerConfig:
    """An f4c4 DC-AE of a few thousand parameters."""
    return TokenizerConfig.parse({"backbone": BACKBONE})


@pytest.fixture
def tiny_run(photographs: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a run of 10 steps of 4 pictures; keyword arguments replace top-level keys."""

    def make(**changes: Any) -> dict[str, Any]:
        phase = {"resolution": 16, "images": 40, "batch": 4, "losses": [{"kind": "l1"}]}
        return {
            "out": str(tmp_path / "run"),
            "model": {"backbone": BACKBONE},
            "data": {"path": str(photographs), "num_workers": 0},
            "phases": [phase],
            "optim": {"lr": 1e-2},
            "ema_half_life": 8,
            "statistics_images": 8,
            "log_every": 0,
            "show_every": 0,
            "save_every": 20,
        } | changes

    return make
