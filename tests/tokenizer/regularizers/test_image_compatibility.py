"""Latents of single frames against an image tokenizer: nothing to pay after inflation, a gradient otherwise."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.inflate import inflated
from tokenizer.loading import config_of, load
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.image_compatibility import ImageCompatibilityConfig

KL: dict[str, Any] = {
    "kind": "kl",
    "latent_channels": 2,
    "widths": [4, 8],
    "norm_groups": 2,
    "blocks_per_level": 1,
    "quant_conv": False,
}


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The folder of an image tokenizer of a few parameters."""
    torch.manual_seed(0)
    config = TokenizerConfig.parse({"backbone": KL, "bottleneck": {"kind": "kl"}})
    model = config.build()
    model.spec = model.spec.with_statistics({"z": ([0.5, -1.0], [0.5, 2.0])})
    about = {
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
    }
    checkpoint.save_folder(tmp_path / "image", about, {"model": model.state_dict()})
    return str(tmp_path / "image")


def test_an_inflated_model_agrees_and_a_changed_one_is_pulled_back(source: str) -> None:
    config = ImageCompatibilityConfig(source=source)
    video = inflated(load(source), config_of(source), [0]).requires_grad_(True)
    config.check(video.spec.z)
    module = Regularized(video, {config.kind: config.build(video.spec.z)})
    x, draw = torch.rand(2, 3, 3, 8, 8) * 2 - 1, Draw(torch.tensor([1, 2]), step=0)
    assert module(x, draw, sample=True).penalties[config.kind].item() < 1e-10
    with torch.no_grad():
        video.encoder.conv_out.conv.bias += 1.0
    penalty = module(x, draw).penalties[config.kind]
    torch.testing.assert_close(penalty, torch.tensor((1 / 0.5**2 + 1 / 2.0**2) / 2))
    penalty.backward()
    assert video.encoder.conv_out.conv.bias.grad[:2].min() > 0
    assert not any("image" in name for name in module.state_dict())


def test_latents_of_another_shape_are_refused(source: str) -> None:
    config = ImageCompatibilityConfig(source=source)
    with pytest.raises(ValueError, match="family of clips"):
        config.check(TokenizerConfig.parse({"backbone": KL}).spec.z)
    tree = {"kind": "causal3d", "latent_channels": 3, "widths": [4, 8], "norm_groups": 2, "time_levels": [0]}
    with pytest.raises(ValueError, match="channels is 3 here and 2"):
        config.check(TokenizerConfig.parse({"backbone": tree}).spec.z)
