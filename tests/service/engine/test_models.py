"""Loading: what is asked for is there, warm, in the dtype asked for, or the reason is named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.engine.messages import ModelSource
from service.engine.models import Models, find_device, find_dtype, in_order, load, load_one, weights_bytes
from service.errors import NotReady
from tests.service.engine.conftest import worker_settings


def test_everything_is_loaded_and_generators_know_their_tokenizer(loaded: Models) -> None:
    assert loaded.tokenizers.keys() == {"tiny", "other", "codes"}
    assert loaded.tokenizer_of == {"shapes": "tiny"}
    assert loaded.pipelines["shapes"].spec_id == loaded.tokenizers["tiny"].spec_id
    assert loaded.pipelines["shapes"].tokenizer is loaded.tokenizers["tiny"]


def test_dtype_is_the_one_asked_for(models: dict[str, Path]) -> None:
    half = load(worker_settings(models, dtype="bfloat16"))
    x_hat = half.tokenizers["tiny"].encode(torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)).z
    assert half.dtype == x_hat.dtype == torch.bfloat16


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


def test_models_come_and_go(models: dict[str, Path]) -> None:
    sources = {source.name: source for source in worker_settings(models).models}
    served = load(worker_settings(models, models=(sources["tiny"],)))
    generator = load_one(served, sources["shapes"])
    with pytest.raises(NotReady, match="'shapes' is being loaded or unloaded"):
        served.pipelines["shapes"]
    served.add(sources["shapes"], generator)
    assert served.tokenizer_of == {"shapes": "tiny"}
    with pytest.raises(ValueError, match="'tiny' decodes for shapes: unload those first"):
        served.remove("tokenizer", "tiny")
    served.remove("generator", "shapes")
    served.remove("tokenizer", "tiny")
    with pytest.raises(ValueError, match="no tokenizer 'tiny' is loaded"):
        served.remove("tokenizer", "tiny")
    with pytest.raises(NotReady):
        served.tokenizers["tiny"]
    with pytest.raises(ValueError, match="no tokenizer of spec"):
        load_one(served, sources["shapes"])


def test_tokenizers_come_before_their_generators(models: dict[str, Path]) -> None:
    sources = worker_settings(models).models
    assert [source.kind for source in in_order(sources[::-1])] == ["tokenizer"] * 3 + ["generator"]


def test_weights_are_weighed(loaded: Models) -> None:
    tokenizer = loaded.tokenizers["tiny"]
    assert isinstance(tokenizer, torch.nn.Module)
    expected = sum(value.nbytes for value in tokenizer.state_dict().values())
    assert weights_bytes(tokenizer) == expected
    pipeline = loaded.pipelines["shapes"]
    assert 0 < weights_bytes(pipeline) != expected  # its tokenizer is another model


def test_the_source_says_which_of_two_equal_tokenizers_decodes(models: dict[str, Path]) -> None:
    sources = {source.name: source for source in worker_settings(models).models}
    twins = [replace(sources["tiny"], name=name) for name in "ab"]
    for name in (None, "a", "b"):
        served = load(worker_settings(models, models=(*twins, replace(sources["shapes"], tokenizer=name))))
        assert served.tokenizer_of == {"shapes": name or "a"}
