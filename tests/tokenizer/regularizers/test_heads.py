"""Regularizers with parameters: these train with the model, survive an interruption, and are not shipped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokenizer import train as loop
from tokenizer.core import checkpoint
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer
from tokenizer.spec import PartSpec
from tokenizer.training import TrainConfig

Settings = Callable[..., dict[str, Any]]


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Everything in a checkpoint, by file and name."""
    return {
        f"{file.relative_to(folder)}:{name}": value
        for file in sorted(folder.rglob("*.safetensors"))
        for name, value in checkpoint.load_tensors(file).items()
    }


class Head(Regularizer):
    """Learns to tell the pictures' mean from the latent."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tell = nn.Linear(channels, 1)

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor | None:
        told = self.tell(step.z.float().mean(dim=(2, 3)))[:, 0]
        return (told - step.target.mean(dim=(1, 2, 3))).square().mean()


def test_heads_of_regularizers_train_and_resume_with_their_phase(
    tiny_run: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_: object, part: PartSpec) -> dict[str, Regularizer]:
        return {"latent_noise": Head(part.channels)}

    monkeypatch.setattr(loop, "build_regularizers", build)
    phase = {"resolution": 16, "images": 40, "batch": 4, "losses": [{"kind": "l1"}]}
    phase["regularizers"] = [{"kind": "latent_noise", "weight": 10.0}]
    whole = loop.train(TrainConfig.parse(tiny_run(phases=[phase], out=str(tmp_path / "whole"))))
    heads = checkpoint.load_tensors(whole / "trainer/regularizers.safetensors")
    early = whole.parent / "000000000020"
    before = checkpoint.load_tensors(early / "trainer/regularizers.safetensors")
    assert heads.keys() == {"latent_noise.tell.weight", "latent_noise.tell.bias"}
    assert not torch.equal(heads["latent_noise.tell.weight"], before["latent_noise.tell.weight"])
    assert not any("tell" in name for name in checkpoint.load_tensors(whole / "model.safetensors"))

    real, calls = loop.to_pixels, {"count": 0}

    def interrupted(data: Tensor) -> Tensor:
        calls["count"] += 1
        if calls["count"] == 8:
            raise KeyboardInterrupt
        return real(data)

    monkeypatch.setattr(loop, "to_pixels", interrupted)
    config = TrainConfig.parse(tiny_run(phases=[phase], out=str(tmp_path / "halves")))
    with pytest.raises(KeyboardInterrupt):
        loop.train(config)
    one, two = tensors_of(whole), tensors_of(loop.train(config))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
