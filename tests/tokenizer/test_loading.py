"""What was saved is what is loaded; what is damaged or missing is named."""

from pathlib import Path

import pytest
import torch

import tokenizer
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import BUNDLED, bundled, config_of, load, spec_id_of
from tokenizer.model import Autoencoder


def save(config: TokenizerConfig, model: Autoencoder, folder: Path, *, ema: bool = False) -> Path:
    settings = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
    }
    tensors = {"model": model.state_dict()}
    if ema:
        tensors["ema"] = {name: value * 0 for name, value in model.state_dict().items()}
    checkpoint.save_folder(folder, settings, tensors)
    return folder


@pytest.fixture
def saved(tiny_config: TokenizerConfig, tmp_path: Path) -> tuple[Autoencoder, Path]:
    torch.manual_seed(0)
    model = tiny_config.build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [2.0] * 4)})
    return model, save(tiny_config, model, tmp_path / "model")


def test_saved_and_loaded_equals_itself(saved: tuple[Autoencoder, Path]) -> None:
    model, folder = saved
    loaded = tokenizer.load(folder)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.encode(x).z, model.encode(x).z)
    assert loaded.spec == model.spec
    assert loaded.spec_id == spec_id_of(folder)
    assert len(loaded.spec_id) == 16
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert load(folder, dtype=torch.bfloat16).encode(x.bfloat16()).z.dtype == torch.bfloat16


@pytest.mark.parametrize("bottleneck", [{"kind": "fsq", "levels": [5, 3, 3, 4]}, {"kind": "lfq"}])
def test_constants_that_no_file_holds_are_made_again(
    tiny_config: TokenizerConfig, tmp_path: Path, bottleneck: dict[str, object]
) -> None:
    config = TokenizerConfig.parse(tiny_config.model_dump() | {"bottleneck": bottleneck})
    model = config.build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    folder = save(config, model, tmp_path / "m")
    random_state = torch.get_rng_state()
    loaded = load(folder)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    first, second = model.encode(x), loaded.encode(x)
    assert torch.equal(first.indices["z"], second.indices["z"])
    assert torch.equal(model.decode(first), loaded.decode(second))
    assert load(folder, dtype=torch.bfloat16).encode(x.bfloat16()).z.dtype == torch.bfloat16


def test_the_average_is_what_is_loaded(tiny_config: TokenizerConfig, tmp_path: Path) -> None:
    model = tiny_config.build()
    loaded = load(save(tiny_config, model, tmp_path / "m", ema=True))
    assert all(float(value.abs().max()) == 0 for value in loaded.state_dict().values())


def test_identity_follows_weights_and_spec(
    saved: tuple[Autoencoder, Path], tiny_config: TokenizerConfig
) -> None:
    model, folder = saved
    first = spec_id_of(folder)
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [3.0] * 4)})
    second = spec_id_of(save(tiny_config, model, folder))
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    third = spec_id_of(save(tiny_config, model, folder))
    assert len({first, second, third}) == 3


def test_config_of(saved: tuple[Autoencoder, Path], tiny_config: TokenizerConfig) -> None:
    assert config_of(saved[1]) == tiny_config


def test_damage_and_strangers_are_named(saved: tuple[Autoencoder, Path], tmp_path: Path) -> None:
    folder = saved[1]
    (folder / "model.safetensors").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"model\.safetensors has 3 bytes"):
        load(folder)
    with pytest.raises(ValueError, match="neither a folder nor a bundled model"):
        load("no-such-model")
    checkpoint.save_folder(tmp_path / "g", {"kind": "generator"}, {"model": {"w": torch.zeros(1)}})
    with pytest.raises(ValueError, match="holds a 'generator', not a tokenizer"):
        load(tmp_path / "g")


def test_weights_of_another_model_are_refused(saved: tuple[Autoencoder, Path]) -> None:
    folder = saved[1]
    config = checkpoint.read_config(folder)
    checkpoint.save_folder(folder, config, {"model": {"w": torch.zeros(1)}})
    with pytest.raises(ValueError, match="does not fit the model"):
        load(folder)


@pytest.mark.parametrize("name", bundled())
def test_bundled_models_load(name: str) -> None:
    """Whole, measured, and small enough to ship."""
    model = load(name)
    assert model.spec.has_statistics
    assert model.spec_id == spec_id_of(BUNDLED / name)
    x = torch.rand(1, 3, 40, 50) * 2 - 1
    assert tuple(model.decode(model.encode(x)).shape) == (1, 3, 40, 50)
