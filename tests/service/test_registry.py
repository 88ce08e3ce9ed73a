"""The registry: read from folders without torch, and refused with the entry's name."""

from pathlib import Path

import pytest

from service import registry as module
from service.errors import TooManyPixels, UnknownLabel, UnknownModel, WrongSize
from service.registry import Registry, check_padded
from tests.service.conftest import CLASS_NAMES, make_generator, make_tokenizer, models_setting
from tokenizer.core import checkpoint
from tokenizer.loading import load
from tokenizer.spec import LatentSpec


@pytest.fixture(scope="module")
def registry(models: dict[str, Path]) -> Registry:
    return Registry.read(models_setting(models))


def test_the_spec_id_is_the_one_the_loaded_model_has(registry: Registry, models: dict[str, Path]) -> None:
    for name in ("tiny", "other"):
        assert registry.tokenizer(name).spec_id == load(models[name]).spec_id
    assert registry.generator("shapes").tokenizer == "tiny"


def test_the_first_of_a_kind_is_the_default(registry: Registry) -> None:
    assert registry.tokenizer(None).name == "tiny"
    assert registry.generator(None).name == "shapes"


def test_unknown_names_list_the_known(registry: Registry) -> None:
    with pytest.raises(UnknownModel, match="tiny, other"):
        registry.tokenizer("shapes")
    with pytest.raises(UnknownModel, match="shapes"):
        registry.generator("tiny")


def test_defaults_of_a_generator_are_those_its_training_showed(registry: Registry) -> None:
    model = registry.generator(None)
    assert (model.num_steps, model.guidance, model.sizes) == (3, 2.5, ((32, 32),))


def test_labels_by_index_and_name(registry: Registry) -> None:
    model = registry.generator(None)
    assert [model.label(name) for name in CLASS_NAMES] == [0, 1, 2]
    assert model.label(2) == 2
    for label in (3, -1, "circl", ""):
        with pytest.raises(UnknownLabel, match="circle, square, star"):
            model.label(label)


def test_sizes_that_cannot_be_made_list_those_that_can(registry: Registry) -> None:
    model = registry.generator(None)
    assert model.size(None) == model.size((32, 32)) == (32, 32)
    with pytest.raises(WrongSize, match=r"\[32, 32\]") as refusal:
        model.size((64, 64))
    assert refusal.value.details == {"sizes": [[32, 32]]}


def test_json_tells_no_path(registry: Registry, models: dict[str, Path]) -> None:
    text = str(registry.to_json())
    assert not any(str(path.parent) in text for path in models.values())


def test_padding_counts() -> None:
    spec = LatentSpec.image(4, 32)
    assert check_padded(spec, (33, 32), 64 * 32) == 64 * 32
    with pytest.raises(TooManyPixels, match="after padding"):
        check_padded(spec, (1, 1000), 1000)


def test_a_run_is_its_latest_checkpoint(models: dict[str, Path], tmp_path: Path) -> None:
    config = checkpoint.read_config(models["tiny"])
    tensors = {"model": checkpoint.load_tensors(models["tiny"] / "model.safetensors")}
    run = checkpoint.RunFolder(tmp_path / "run")
    for position in (10, 20):
        run.save(position, config, tensors)
    found = Registry.read(f"run={tmp_path / 'run'}").tokenizer(None)
    assert found.path.name == "000000000020"
    assert found.spec_id == load(models["tiny"]).spec_id


def test_a_tokenizer_and_a_generator_may_share_a_name(models: dict[str, Path]) -> None:
    both = Registry.read(f"a={models['tiny']},a={models['shapes']}")
    assert both.tokenizer("a").spec_id == both.generator("a").spec_id
    with pytest.raises(ValueError, match="twice"):
        Registry.read(f"a={models['tiny']},a={models['other']}")


def test_wrong_entries_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"_class_name": "AutoencoderDC"}')
    lonely = make_generator(tmp_path / "lonely", models["tiny"], 1, spec_id="0" * 16)
    spec = LatentSpec.image(8, 4).model_dump(mode="json")
    unmeasured = make_tokenizer(tmp_path / "unmeasured", 1, spec=spec)
    tiny = f"tiny={models['tiny']}"
    cases = {
        f"x={tmp_path / 'gone'}": "'x'",
        f"x={tmp_path / 'empty'}": "'x'",
        f"x={tmp_path / 'foreign'}": "no folder of ours",
        f"x={unmeasured}": r"tokenizer\.stats",
        f"shapes={models['shapes']}": "names no tokenizer",
        f"{tiny},x={lonely}": "0000000000000000",
    }
    for text, reason in cases.items():
        with pytest.raises(ValueError, match=reason):
            Registry.read(text)


def test_without_models_the_bundled_demo_is_served(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_home", lambda package: tmp_path / package.__name__)
    with pytest.raises(ValueError, match="make train-demo"):
        Registry.read("")
    for package, name in (("tokenizer", "tiny"), ("diffusion", "shapes")):
        (tmp_path / package / "bundled").mkdir(parents=True)
        (tmp_path / package / "bundled" / "demo").symlink_to(models[name])
    demo = Registry.read("")
    assert demo.tokenizer(None).name == demo.generator(None).name == "demo"
