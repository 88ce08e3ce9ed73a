"""A bundle is small, whole, and says nothing about the machine that trained it."""

import json
from pathlib import Path

import pytest
import torch

from tokenizer.bundle import BundleConfig, bundle
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import load


def test_bundle(tiny_config: TokenizerConfig, tmp_path: Path) -> None:
    model = tiny_config.build()
    spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    settings = {
        "kind": "tokenizer",
        "model": tiny_config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "preset": {"out": "/somewhere", "data": {"path": "/private", "flip": True}, "seed": 3},
    }
    ema = {name: value + 1 for name, value in model.state_dict().items()}
    checkpoint.save_folder(tmp_path / "run", settings, {"model": model.state_dict(), "ema": ema})
    psnr = {"value": 25.5, "ci95": [25.0, 26.0]}
    report = {
        "protocol": {"name": "canon-v1", "hash": "abc", "settings": {}},
        "num_images": 3,
        "data": {"path": "/private"},
        "metrics": {"psnr": psnr | {"details": {}}, "rfid": {"not_computed": "weights", "put": "there"}},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    bundle(
        BundleConfig(
            source=tmp_path / "run",
            out=tmp_path / "bundle",
            licence="CC0-1.0",
            figures=tmp_path / "report.json",
            trained="an hour on two cores",
        )
    )
    config = checkpoint.read_config(tmp_path / "bundle")
    assert config["preset"] == {"data": {"flip": True}, "seed": 3}
    assert config["licence"] == "CC0-1.0"
    assert config["figures"] == {
        "trained": "an hour on two cores",
        "protocol": "canon-v1 abc",
        "num_images": 3,
        "metrics": {"psnr": psnr},
    }
    assert "/private" not in (tmp_path / "bundle/config.json").read_text()
    stored = checkpoint.load_tensors(tmp_path / "bundle/model.safetensors")
    name = next(iter(dict(model.named_parameters())))
    assert stored[name].dtype == torch.bfloat16
    assert torch.equal(load(tmp_path / "bundle").state_dict()[name], ema[name].bfloat16().float())


def test_a_tokenizer_without_statistics_is_refused(tiny_config: TokenizerConfig, tmp_path: Path) -> None:
    model = tiny_config.build()
    settings = {
        "kind": "tokenizer",
        "model": tiny_config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
    }
    checkpoint.save_folder(tmp_path / "run", settings, {"model": model.state_dict()})
    with pytest.raises(ValueError, match=r"tokenizer\.stats"):
        bundle(BundleConfig(source=tmp_path / "run", out=tmp_path / "bundle"))
