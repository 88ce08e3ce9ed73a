"""Generators on disk."""

from pathlib import Path

import pytest
import torch

from diffusion.backbones.dit import DiTConfig
from diffusion.generators.rectified_flow import RectifiedFlowConfig
from diffusion.model_folder import GeneratorRecord, find, load_denoiser, read_record
from tokenizer.core import checkpoint

RECORD = GeneratorRecord(
    model=DiTConfig(depth=1, width=16, heads=2),
    generator=RectifiedFlowConfig(),
    spec_id="0123456789abcdef",
    latent_shape=(4, 2, 2),
    size=(16, 16),
    class_names=("a", "b"),
    figures={"loss": 0.5},
)


def write(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = RECORD.build().state_dict()
    average = {name: value + 1 for name, value in state.items()}
    checkpoint.save_folder(folder, RECORD.model_dump(mode="json"), {"model": state, "ema": average})
    return average


def test_a_folder_gives_back_the_average_and_what_it_says(tmp_path: Path) -> None:
    average = write(tmp_path / "model")
    network, record = load_denoiser(tmp_path / "model", dtype=torch.bfloat16)
    assert record == RECORD
    state = network.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(state[name], average[name].bfloat16()) for name in average)
    assert not any(parameter.requires_grad for parameter in network.parameters())  # type: ignore[attr-defined]
    assert (network.latent_shape, network.num_classes) == ((4, 2, 2), 2)


def test_a_run_folder_stands_for_its_latest_checkpoint(tmp_path: Path) -> None:
    run = checkpoint.RunFolder(tmp_path)
    state = RECORD.build().state_dict()
    for position in (8, 16):
        run.save(position, RECORD.model_dump(mode="json"), {"model": state})
    assert find(tmp_path).name == f"{16:012d}"


def test_what_is_no_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="no generator 'nothing': it is neither a folder nor a bundled model"
    ):
        find("nothing")
    checkpoint.save_folder(tmp_path / "other", {"kind": "tokenizer"}, {"model": {"a": torch.zeros(1)}})
    with pytest.raises(ValueError, match="holds a 'tokenizer', not a generator"):
        read_record(tmp_path / "other")


def test_damaged_and_unfitting_weights_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "model")
    config = RECORD.model_copy(update={"class_names": ("a", "b", "c")}).model_dump(mode="json")
    checkpoint.replace_config(tmp_path / "model", config)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_denoiser(tmp_path / "model")
    file = tmp_path / "model" / "ema.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"ema\.safetensors has"):
        load_denoiser(tmp_path / "model")
