"""A tokenizer on a frozen encoder: phases that train their own, a folder that knows its encoder, codes as clusters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.fae import FAEConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.layers.frozen import load_frozen
from tokenizer.layers.plain_vit import PlainViTSize
from tokenizer.loading import load, load_folder
from tokenizer.train import train
from tokenizer.training import TrainConfig

SMALL = {"width": 16, "depth": 1, "heads": 2}
RANDOM = {"library": "random", "channels": 16, "patch": 4, "depth": 1}
BACKBONE = {
    "kind": "fae",
    "latent_channels": 4,
    "factor": 8,
    "frozen": RANDOM,
    "adapter_heads": 2,
    "feature_decoder": SMALL,
    "pixel_decoder": SMALL,
}
FEATURES = {
    "resolution": 16,
    "images": 12,
    "batch": 4,
    "train": ["encoder.adapter.*", "decoder.features.*"],
    "losses": [{"kind": "bottleneck", "weight": 1e-4}],
    "regularizers": [{"kind": "feature_reconstruction"}],
}
PIXELS = {
    "resolution": 16,
    "images": 12,
    "batch": 4,
    "train": ["decoder.pixels.*"],
    "losses": [{"kind": "l1"}],
}
Settings = Callable[..., dict[str, Any]]


def picture(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def teacher(folder: Path, seed: int) -> Path:
    """Such a folder as the command writes."""
    size = PlainViTSize(width=16, patch=4, depth=1, heads=2)
    tree = {"size": size.model_dump(mode="json"), "num_classes": 2}
    torch.manual_seed(seed)
    checkpoint.save_folder(folder, tree, {"model": size.build(2).state_dict()})
    return folder


@torch.no_grad()
def test_any_size_and_the_frozen_features_in_the_middle() -> None:
    model = TokenizerConfig.parse({"backbone": BACKBONE, "bottleneck": {"kind": "kl"}}).build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    for size in ((16, 16), (20, 33)):
        latent = model.encode(picture(*size))
        assert latent.z.shape == (2, 4, -(-size[0] // 8), -(-size[1] // 8))
        assert model.decode(latent).shape == (2, 3, *size)
    theirs = {id(p) for p in load_frozen(model.encoder.frozen.config).network.parameters()}
    assert not theirs & {id(p) for p in model.parameters()}


def test_each_phase_trains_its_own_and_the_folder_comes_back(tiny_run: Settings, tmp_path: Path) -> None:
    tree = tiny_run(
        model={"backbone": BACKBONE, "bottleneck": {"kind": "kl"}},
        phases=[FEATURES, PIXELS],
        save_every=12,
        keep=9,
    )
    last = train(TrainConfig.parse(tree))
    folders = sorted((tmp_path / "run/checkpoints").glob("0*"))
    states = [checkpoint.load_tensors(folder / "model.safetensors") for folder in folders]
    torch.manual_seed(0)
    moved = {name for name, value in states[0].items() if not torch.equal(value, states[1][name])}
    assert moved
    assert all(name.startswith("decoder.pixels.") for name in moved)
    assert not any("network" in name for name in states[0])
    model, again = load_folder(last), load(last)
    assert model.encoder.fingerprint.any()
    torch.testing.assert_close(model.eval()(picture(16, 16)).x_hat, again(picture(16, 16)).x_hat)


def test_another_frozen_encoder_is_refused(tiny_run: Settings, tmp_path: Path) -> None:
    frozen = {"library": "ours", "folder": str(teacher(tmp_path / "teacher", seed=0))}
    tree = tiny_run(
        model={"backbone": BACKBONE | {"frozen": frozen}}, phases=[FEATURES | {"losses": [{"kind": "l1"}]}]
    )
    folder = train(TrainConfig.parse(tree))
    x = picture(16, 16)
    load(folder).encode(x)
    teacher(tmp_path / "teacher", seed=1)
    load_frozen.cache_clear()
    with pytest.raises(ValueError, match="trained on a frozen encoder with sha256"):
        load(folder).encode(x)
    model = json.loads((folder / "config.json").read_text())["model"]
    assert model["backbone"]["frozen"]["folder"].endswith("teacher")


def test_codes_are_clusters_of_frozen_features_and_stay(tiny_run: Settings) -> None:
    """DiGIT: the codebook is found before the first step; training moves the pixel decoder alone."""
    backbone = {
        "kind": "fae",
        "latent_channels": 16,
        "factor": 8,
        "frozen": RANDOM,
        "adapter": "none",
        "pixel_decoder": SMALL,
    }
    bottleneck = {"kind": "vq", "codebook_size": 8}
    phase = PIXELS | {"train": ["decoder.*"], "clusters": {"images": 48, "rounds": 10}}
    tree = tiny_run(model={"backbone": backbone, "bottleneck": bottleneck}, phases=[phase])
    model = load(train(TrainConfig.parse(tree)))
    features = model.encoder(picture(64, 64)).flatten(2).transpose(1, 2).flatten(0, 1)
    fresh = TokenizerConfig.parse({"backbone": backbone, "bottleneck": bottleneck}).build()
    near, far = (torch.cdist(features, m.bottleneck.codebook).amin(dim=1).mean() for m in (model, fresh))
    assert near < 0.8 * far
    again = load(train(TrainConfig.parse(tree | {"out": tree["out"] + "-again"})))
    assert torch.equal(model.bottleneck.codebook, again.bottleneck.codebook)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="adapter none and no feature_decoder belong together"):
        FAEConfig.parse(BACKBONE | {"adapter": "none"})
    with pytest.raises(ValueError, match="latent_channels must be the encoder's channels, 16"):
        FAEConfig.parse(BACKBONE | {"adapter": "none", "feature_decoder": None})
    with pytest.raises(ValueError, match="must be a multiple of adapter_heads, 3"):
        FAEConfig.parse(BACKBONE | {"adapter_heads": 3})
    config = FAEConfig.parse(BACKBONE | {"adapter": "none", "feature_decoder": None, "latent_channels": 16})
    with pytest.raises(ValueError, match="the bottleneck takes 16 channels, not 32"):
        config.build_encoder(32)
    with pytest.raises(ValueError, match="downloads nothing"):
        FAEConfig.parse(BACKBONE | {"frozen": {"channels": 16, "patch": 4}}).build_encoder(4)
