"""The same held-out pictures for all; a fingerprint tells sets apart."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from eval.compare.pictures import Fingerprint, HeldOut
from eval.compare.settings import CompareConfig
from eval.data import DataConfig, Pictures, read_crop


def test_pictures_are_cropped_by_the_protocol(config: Callable[..., CompareConfig]) -> None:
    settings = config()
    held_out = HeldOut.read(settings)
    assert held_out.real.shape == (8, 3, 32, 32)
    assert (held_out.record.num_used, held_out.record.num_found) == (8, 24)
    files = Pictures.open(DataConfig(path=settings.data.held_out, resolution=32, max_images=8)).files
    assert torch.equal(held_out.real[3], read_crop(files[3], 32)[0])
    assert held_out.shown == (0, 4)


def test_fingerprints_follow_the_pictures_and_not_their_place(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "rings", tmp_path / "moved")
    assert Fingerprint.of(tmp_path / "moved") == Fingerprint.of(photographs / "rings")
    assert Fingerprint.of(photographs / "waves") != Fingerprint.of(photographs / "rings")
    (tmp_path / "moved" / "00.png").unlink()
    assert Fingerprint.of(tmp_path / "moved").count == 23
