"""The teacher learns classes, is the same again, and its folder is a frozen encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tokenizer.core.checkpoint import load_tensors
from tokenizer.layers.frozen import FrozenConfig
from tokenizer.teacher import TeacherConfig, train_teacher


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dark and eight light pictures of 16x16 pixels, in a folder each."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for name, least in (("dark", 0), ("light", 128)):
        (folder / name).mkdir()
        for index in range(8):
            pixels = torch.randint(least, least + 128, (16, 16, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{index}.png")
    return folder


def settings(pictures: Path, out: Path, **changes: Any) -> TeacherConfig:
    tree = {
        "data": {
            "path": str(pictures),
            "validation": str(pictures),
            "resolution": 16,
            "num_workers": 0,
        },
        "out": str(out),
        "size": {"width": 16, "patch": 4, "depth": 1, "heads": 2},
        "images": 320,
        "batch": 16,
        "optim": {"lr": 5e-3},
        "device": "cpu",
    }
    return TeacherConfig.parse(tree | changes)


def test_it_tells_the_classes_and_becomes_a_frozen_encoder(pictures: Path, tmp_path: Path) -> None:
    folder = train_teacher(settings(pictures, tmp_path / "teacher"))
    tree = json.loads((folder / "config.json").read_text())
    assert tree["class_names"] == ["dark", "light"]
    assert tree["validation_accuracy"] > 0.9
    frozen = FrozenConfig(library="ours", folder=folder).open()
    assert (frozen.channels, frozen.patch) == (16, 4)
    assert frozen(torch.zeros(1, 3, 24, 24), (3, 3)).shape == (1, 16, 3, 3)


def test_the_same_seed_gives_the_same_teacher(pictures: Path, tmp_path: Path) -> None:
    folders = [
        train_teacher(settings(pictures, tmp_path / name, images=64, seed=seed))
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    ]
    one, again, other = (load_tensors(folder / "model.safetensors") for folder in folders)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_pictures_of_one_class_are_refused(pictures: Path, tmp_path: Path) -> None:
    data = {"path": str(pictures / "dark"), "num_workers": 0}
    with pytest.raises(ValueError, match="1 class: a teacher tells classes"):
        train_teacher(settings(pictures, tmp_path / "teacher", data=data))
    other = {
        "path": str(pictures),
        "validation": str(pictures / "dark"),
        "resolution": 16,
        "num_workers": 0,
    }
    with pytest.raises(ValueError, match="the classes under data.validation are"):
        train_teacher(settings(pictures, tmp_path / "teacher", data=other, images=16))
