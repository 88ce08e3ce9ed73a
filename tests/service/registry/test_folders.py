"""Folders as models: ours and diffusers' autoencoders; what cannot be served is named with its reason."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from service.registry import Registry
from service.registry.folders import kind_of, read_model
from service.registry.served import ServedTokenizer
from tests.service.conftest import make_generator, make_tokenizer, models_setting
from tests.tokenizer.adapters.diffusers.parity import DC, dc, kl, taesd, vq
from tokenizer.core import checkpoint
from tokenizer.loading import load
from tokenizer.spec import LatentSpec


def test_the_spec_id_is_the_one_the_loaded_model_has(models: dict[str, Path]) -> None:
    registry = Registry.read(models_setting(models))
    for name in ("tiny", "other"):
        assert registry.tokenizer(name).spec_id == load(models[name]).spec_id
    assert registry.generator("shapes").tokenizer == "tiny"


def test_defaults_of_a_generator_are_those_its_training_showed(models: dict[str, Path]) -> None:
    model = Registry.read(models_setting(models)).generator(None)
    assert (model.num_steps, model.guidance, model.sizes) == (3, 2.5, ((32, 32),))


@pytest.mark.parametrize("make", [partial(dc, **DC["SANA"]), kl, taesd, vq])
def test_an_autoencoder_of_diffusers_is_what_loading_it_gives(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    theirs = make()
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]  # a method of their mixin
    assert kind_of(tmp_path) == "tokenizer"
    model = read_model("theirs", tmp_path, ())
    loaded = load(tmp_path)
    assert isinstance(model, ServedTokenizer)
    assert (model.spec, model.spec_id, model.family) == (loaded.spec, loaded.spec_id, type(theirs).__name__)


def test_pickled_weights_are_no_model(tmp_path: Path) -> None:
    kl().save_pretrained(tmp_path)  # type: ignore[operator]  # as above
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="never read"):
        read_model("theirs", tmp_path, ())


def test_a_run_is_its_latest_checkpoint(models: dict[str, Path], tmp_path: Path) -> None:
    config = checkpoint.read_config(models["tiny"])
    tensors = {"model": checkpoint.load_tensors(models["tiny"] / "model.safetensors")}
    run = checkpoint.RunFolder(tmp_path / "run")
    for position in (10, 20):
        run.save(position, config, tensors)
    found = Registry.read(f"run={tmp_path / 'run'}").tokenizer(None)
    assert found.path.name == "000000000020"
    assert found.spec_id == load(models["tiny"]).spec_id


def test_wrong_entries_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"_class_name": "AutoencoderOobleck"}')
    lonely = make_generator(tmp_path / "lonely", models["tiny"], 1, spec_id="0" * 16)
    spec = LatentSpec.image(8, 4).model_dump(mode="json")
    unmeasured = make_tokenizer(tmp_path / "unmeasured", 1, spec=spec)
    tiny = f"tiny={models['tiny']}"
    cases = {
        f"x={tmp_path / 'gone'}": "'x'",
        f"x={tmp_path / 'empty'}": "'x'",
        f"x={tmp_path / 'foreign'}": "AutoencoderDC, AutoencoderKL",
        f"x={unmeasured}": r"tokenizer\.stats",
        f"shapes={models['shapes']}": "served are none",
        f"{tiny},x={lonely}": "0000000000000000",
    }
    for text, reason in cases.items():
        with pytest.raises(ValueError, match=f"TESSERA_MODELS.*{reason}"):
            Registry.read(text)
