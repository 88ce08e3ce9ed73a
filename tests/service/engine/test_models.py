"""Loading: what is asked for is there, warm, in the dtype asked for, or the reason is named."""

from pathlib import Path

import pytest
import torch

from service.engine.messages import ModelSource
from service.engine.models import Models, find_device, find_dtype, load, warm_up
from tests.service.engine.conftest import worker_settings


def test_everything_is_loaded_and_generators_know_their_tokenizer(loaded: Models) -> None:
    assert loaded.tokenizers.keys() == {"tiny", "other", "codes"}
    assert loaded.tokenizer_of == {"shapes": "tiny"}
    assert loaded.pipelines["shapes"].spec_id == loaded.tokenizers["tiny"].spec_id
    warm_up(loaded)


def test_dtype_is_the_one_asked_for(models: dict[str, Path]) -> None:
    half = load(worker_settings(models, dtype="bfloat16"))
    x_hat = half.tokenizers["tiny"].encode(torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)).z
    assert half.dtype == x_hat.dtype == torch.bfloat16
    warm_up(half)


def test_a_missing_folder_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    sources = (ModelSource("tokenizer", "gone", str(tmp_path / "x")),)
    with pytest.raises(ValueError, match="'gone'"):
        load(worker_settings(models, models=sources))


def test_a_damaged_folder_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in models["tiny"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=r"model\.safetensors was altered"):
        load(worker_settings(models, models=(ModelSource("tokenizer", "copy", str(copy)),)))


def test_tiles_depend_on_the_size_alone(loaded: Models) -> None:
    assert loaded.tiles((128, 128)) is None
    plan = loaded.tiles((132, 128))
    assert plan is not None
    assert (plan.tile, plan.overlap) == (96, 16)


def test_devices_and_dtypes() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_dtype("auto", torch.device("cpu")) == torch.float32
    assert find_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert find_dtype("float16", torch.device("cpu")) == torch.float16
    with pytest.raises(ValueError, match="TESSERA_DEVICE=cuda:99"):
        find_device("cuda:99")
