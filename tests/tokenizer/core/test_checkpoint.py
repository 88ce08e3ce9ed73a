"""Folders are whole or absent; damage is named; runs fall back to the last valid one."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tokenizer.core import checkpoint
from tokenizer.core.checkpoint import CheckpointError, RunFolder

TENSORS = {"model": {"w": torch.arange(6.0).view(2, 3)}, "trainer/optimizer": {"0.step": torch.tensor(3.0)}}


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.save_folder(tmp_path / "m", {"kind": "tokenizer"}, TENSORS, {"trainer/state.json": "{}"})
    entries = checkpoint.verify(tmp_path / "m")
    assert set(entries) == {
        "config.json",
        "model.safetensors",
        "trainer/optimizer.safetensors",
        "trainer/state.json",
    }
    assert checkpoint.read_config(tmp_path / "m") == {"kind": "tokenizer"}
    assert torch.equal(checkpoint.load_tensors(tmp_path / "m/model.safetensors")["w"], TENSORS["model"]["w"])
    assert [path.name for path in tmp_path.iterdir()] == ["m"]  # nothing temporary stays


def test_weights_are_as_readable_as_the_rest(tmp_path: Path) -> None:
    """A container that runs as another user reads what training wrote."""
    checkpoint.save_folder(tmp_path / "m", {}, TENSORS)
    modes = {file.stat().st_mode for file in (tmp_path / "m").rglob("*") if file.is_file()}
    assert len(modes) == 1


def test_tied_and_strided_tensors_are_saved(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    checkpoint.save_folder(tmp_path / "m", {}, {"model": {"a": weight, "b": weight, "c": weight.T}})
    loaded = checkpoint.load_tensors(tmp_path / "m/model.safetensors")
    assert torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["c"], weight.T)


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "no manifest", "bad manifest"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "m"
    checkpoint.save_folder(folder, {}, TENSORS)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:-1])
    elif damage == "flip":
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "remove":
        file.unlink()
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="manifest" if "manifest" in damage else "model.safetensors"):
        checkpoint.verify(folder)


def test_saving_again_replaces(tmp_path: Path) -> None:
    checkpoint.save_folder(tmp_path / "m", {"n": 1}, TENSORS)
    checkpoint.save_folder(tmp_path / "m", {"n": 2}, {"model": TENSORS["model"]})
    assert checkpoint.read_config(tmp_path / "m") == {"n": 2}
    assert not (tmp_path / "m/trainer").exists()
    checkpoint.verify(tmp_path / "m")


def test_replacing_the_configuration_keeps_the_rest(tmp_path: Path) -> None:
    checkpoint.save_folder(tmp_path / "m", {"n": 1}, TENSORS)
    checkpoint.replace_config(tmp_path / "m", {"n": 2})
    assert checkpoint.read_config(tmp_path / "m") == {"n": 2}
    assert len(checkpoint.verify(tmp_path / "m")) == 3


def test_a_run_keeps_the_last_and_falls_back_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder(tmp_path, keep=2)
    assert run.latest() is None
    for position in (10, 20, 30):
        run.save(position, {"n": position}, TENSORS)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "000000000020",
        "000000000030",
    ]
    assert (tmp_path / "LATEST").read_text().strip() == "000000000030"
    latest = run.latest()
    assert latest is not None
    assert checkpoint.resolve(tmp_path) == latest
    (latest / "model.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        fallback = run.latest()
    assert fallback is not None
    assert fallback.name == "000000000020"
    assert "000000000030" in caplog.text


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a model folder"):
        checkpoint.resolve(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="JSON object"):
        checkpoint.read_config(tmp_path)
    with pytest.raises(CheckpointError, match="neither ema"):
        checkpoint.weights_path(tmp_path)


def test_a_kill_while_saving_loses_nothing(tmp_path: Path) -> None:
    """The process dies between writing the files and the rename, at the worst place: the old one is still there."""
    script = (
        "import os, sys, torch\n"
        "from pathlib import Path\n"
        "from tokenizer.core import checkpoint\n"
        "run = checkpoint.RunFolder(Path(sys.argv[1]), keep=1)\n"
        "run.save(1, {}, {'model': {'w': torch.ones(3)}})\n"
        "checkpoint._replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "run.save(2, {}, {'model': {'w': torch.zeros(3)}})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    latest = RunFolder(tmp_path).latest()
    assert latest is not None
    assert latest.name == "000000000001"
    RunFolder(tmp_path, keep=1).save(3, {}, TENSORS)  # and the leftover is cleared away
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000000003"]


def test_configuration_needs_no_torch() -> None:
    """The process that speaks HTTP reads folders without it."""
    script = (
        "import sys, tokenizer.core.checkpoint, tokenizer.spec, tokenizer; sys.exit('torch' in sys.modules)"
    )
    root = str(Path(__file__).parents[3])
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


def test_manifest_is_json(tmp_path: Path) -> None:
    checkpoint.save_folder(tmp_path / "m", {}, TENSORS)
    entry = json.loads((tmp_path / "m/manifest.json").read_text())["files"]["model.safetensors"]
    assert entry["sha256"] == checkpoint.sha256_of(tmp_path / "m/model.safetensors")
    assert checkpoint.weights_sha256(tmp_path / "m") == entry["sha256"]
