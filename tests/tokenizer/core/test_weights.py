"""Files as people publish them, and files that would run code."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tokenizer.core.weights import load_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("tree", [STATE, {"state_dict": STATE, "epoch": 3}, {"model": STATE, "args": None}])
def test_pth_files(tmp_path: Path, tree: dict[str, object]) -> None:
    torch.save(tree, tmp_path / "weights.pth")
    loaded = load_weights(tmp_path / "weights.pth")
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def test_safetensors_files(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    loaded = load_weights(tmp_path / "weights.safetensors")
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch trapped",)


def test_nothing_in_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "trap.pth")
    with pytest.raises(ValueError, match="trap.pth holds no weights that can be read safely"):
        load_weights(Path("trap.pth"))
    assert not Path("trapped").exists()


def test_what_is_no_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere.pth is missing"):
        load_weights(tmp_path / "nowhere.pth")
    torch.save({"a": 3}, tmp_path / "numbers.pth")
    with pytest.raises(ValueError, match="numbers.pth holds no named tensors"):
        load_weights(tmp_path / "numbers.pth")
    for name in ("text.safetensors", "text.pth"):
        (tmp_path / name).write_text("not weights, only words")
        with pytest.raises(ValueError, match=name):
            load_weights(tmp_path / name)
