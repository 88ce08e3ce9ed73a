"""The models by name: defaults, unknown names, models that come and go, and what is told of them."""

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from service.errors import InvalidParameter, ModelExists, UnknownModel
from service.registry import Registry, catalog
from tests.service.conftest import models_setting


@pytest.fixture
def registry(models: dict[str, Path]) -> Registry:
    return Registry.read(models_setting(models))


def test_the_first_of_a_kind_is_the_default_until_another_is_set(registry: Registry) -> None:
    assert registry.tokenizer(None).name == "tiny"
    assert registry.generator(None).name == "shapes"
    registry.set_default(("tokenizer", "codes"))
    assert registry.tokenizer(None).name == registry.default("tokenizer") == "codes"
    assert [facts["name"] for facts in registry.to_json() if facts["default"]] == ["codes", "shapes"]


def test_unknown_names_list_the_known(registry: Registry) -> None:
    with pytest.raises(UnknownModel, match="tiny, other"):
        registry.tokenizer("shapes")
    with pytest.raises(UnknownModel, match="shapes"):
        registry.generator("tiny")
    with pytest.raises(UnknownModel, match="codes, other, shapes, tiny"):
        registry.find("gone", None)


def test_a_generator_needs_its_tokenizer(registry: Registry) -> None:
    assert registry.needs(("generator", "shapes")) == [("tokenizer", "tiny"), ("generator", "shapes")]
    assert registry.needs(("tokenizer", "tiny")) == [("tokenizer", "tiny")]


def test_the_worker_is_told_which_of_two_equal_tokenizers_decodes(models: dict[str, Path]) -> None:
    twice = Registry.read(f"a={models['tiny']},b={models['tiny']},shapes={models['shapes']}")
    assert twice.source(("generator", "shapes")).tokenizer == "a"
    assert twice.source(("tokenizer", "b")).tokenizer is None


def test_json_tells_no_path(registry: Registry, models: dict[str, Path]) -> None:
    text = str(registry.to_json())
    assert not any(str(path.parent) in text for path in models.values())


def test_the_worker_loads_tokenizers_first(registry: Registry) -> None:
    assert [(source.kind, source.name) for source in registry.sources()] == registry.known
    assert registry.known[-1] == ("generator", "shapes")


def test_a_tokenizer_and_a_generator_may_share_a_name(models: dict[str, Path]) -> None:
    both = Registry.read(f"a={models['tiny']},a={models['shapes']}")
    assert both.tokenizer("a").spec_id == both.generator("a").spec_id
    assert both.find("a", "generator") == ("generator", "a")
    with pytest.raises(InvalidParameter, match=r"\?kind=tokenizer"):
        both.find("a", None)
    with pytest.raises(ValueError, match="twice"):
        Registry.read(f"a={models['tiny']},a={models['other']}")


def test_models_come_and_go(registry: Registry) -> None:
    other = registry.tokenizer("other")
    with pytest.raises(ModelExists, match="other"):
        registry.add(other)
    key = registry.add(replace(other, name="again"))
    assert registry.tokenizer("again").path == other.path
    assert registry.find("again", None) == key
    registry.set_default(key)
    registry.remove(key)
    assert registry.default("tokenizer") == "tiny"
    with pytest.raises(UnknownModel):
        registry.tokenizer("again")


def test_there_is_an_end_to_how_many(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_MODELS", 4)
    with pytest.raises(InvalidParameter, match="remove one"):
        registry.add(replace(registry.tokenizer("other"), name="again"))


def test_a_folder_that_changed_has_another_spec_id(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    copytree(models["tiny"], folder)
    registry = Registry.read(f"a={folder}")
    key = ("tokenizer", "a")
    assert registry.reread(key) == registry.tokenizer("a").spec_id
    for file in models["other"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert registry.reread(key) == Registry.read(f"b={models['other']}").tokenizer("b").spec_id
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json"):
        registry.reread(key)


def test_without_models_the_bundled_demo_is_served(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_home", lambda package: tmp_path / package.__name__)
    with pytest.raises(ValueError, match="make train-demo"):
        Registry.read("")
    for package, name in (("tokenizer", "tiny"), ("diffusion", "shapes")):
        (tmp_path / package / "bundled").mkdir(parents=True)
        (tmp_path / package / "bundled" / "demo").symlink_to(models[name])
    demo = Registry.read("")
    assert demo.tokenizer(None).name == demo.generator(None).name == "demo"
