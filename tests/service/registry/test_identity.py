"""Which weights a folder holds: equal for copies, another after a change, and cheap to look at again."""

import os
from pathlib import Path

import pytest

from service.registry.identity import identity_of, sha256_of, stamp_of, weights_of


def fill(folder: Path) -> Path:
    (folder / "vae").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "vae" / "model.safetensors").write_bytes(b"weights")
    (folder / "vae" / "model.fp16.safetensors").write_bytes(b"half")
    (folder / "picture.png").write_bytes(b"png")
    return folder


def test_copies_are_the_same_and_changes_are_not(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "a"), fill(tmp_path / "b")
    identity = identity_of(first)
    assert identity == identity_of(second)
    assert len(identity) == 16
    (second / "picture.png").write_bytes(b"another")
    assert identity_of(second) == identity
    (second / "vae" / "model.safetensors").write_bytes(b"weightz")
    assert identity_of(second) != identity


def test_a_stamp_moves_with_size_time_and_names(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a")
    stamps = [stamp_of(folder)]
    os.utime(folder / "model_index.json", (1, 1))
    stamps.append(stamp_of(folder))
    (folder / "model_index.json").rename(folder / "index.json")
    stamps.append(stamp_of(folder))
    (folder / "picture.png").unlink()
    assert stamp_of(folder) == stamps[-1]
    assert len(set(stamps)) == 3


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        stamp_of(tmp_path / "x")


def test_hashes_are_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = sha256_of(file)
    monkeypatch.setattr("tokenizer.core.checkpoint.sha256_of", lambda _: "read again")
    assert sha256_of(file) == first
    file.write_bytes(b"other")
    assert sha256_of(file) == "read again"


def test_variants_are_not_counted(tmp_path: Path) -> None:
    assert [path.name for path in weights_of(fill(tmp_path / "a"))] == ["model.safetensors"]
