"""Weights come from named files only, hashed, without pickle where possible."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eval import weights
from eval.errors import NotComputedError
from eval.weights import KNOWN, KnownWeights, WeightsConfig, find, load
from tokenizer.core.checkpoint import sha256_of


def test_hash_decides_whether_a_file_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / KNOWN["vgg16"].file
    torch.save({"a": torch.ones(2)}, path)
    config = WeightsConfig(folder=tmp_path)
    tensors, record = load("vgg16", config)
    assert torch.equal(tensors["a"], torch.ones(2))
    assert not record.verified
    known = KnownWeights(path.name, sha256_of(path)[:8], "here")
    monkeypatch.setitem(weights.KNOWN, "vgg16", known)
    assert load("vgg16", config)[1].verified


def test_safetensors_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "vgg16-397923af.safetensors")
    tensors, record = load("vgg16", WeightsConfig(folder=tmp_path))
    assert tensors["a"].tolist() == [0, 1, 2]
    assert record.file == "vgg16-397923af.safetensors"


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]  # the attack itself

    path = tmp_path / "evil.pth"
    torch.save({"a": Payload()}, path)
    with pytest.raises(Exception, match="[Ww]eights"):
        load("alexnet", WeightsConfig(alexnet=path))
    assert not (tmp_path / "ran").exists()


def test_only_dense_tensors_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pth"
    torch.save({"a": torch.eye(3).to_sparse()}, path)
    warnings.simplefilter("ignore", UserWarning)  # torch tells that it checks sparse indices
    with pytest.raises(ValueError, match="dense"):
        load("alexnet", WeightsConfig(alexnet=path))
    torch.save([torch.ones(1)], path)
    with pytest.raises(ValueError, match="table"):
        load("alexnet", WeightsConfig(alexnet=path))


def test_wrong_paths_are_mistakes_not_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        find("inception", WeightsConfig(inception=tmp_path / "nothing.pth"))
    with pytest.raises(ValueError, match="no such folder"):
        find("inception", WeightsConfig(folder=tmp_path / "nothing"))
    with pytest.raises(NotComputedError):
        find("inception", WeightsConfig(folder=tmp_path))
