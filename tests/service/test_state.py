"""The parts of the service are built from the settings, and nothing is started."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.engine.messages import WorkerSettings
from service.settings import Settings
from service.state import Service
from tests.service.conftest import models_setting


def test_the_worker_gets_what_the_settings_say(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[WorkerSettings] = []

    def build(_: Settings, worker: WorkerSettings, *__: object) -> SimpleNamespace:
        found.append(worker)
        return SimpleNamespace()

    monkeypatch.setattr("service.state.MeteredEngine", build)
    settings = Settings(models=models_setting(models), max_batch=3, device="cpu")
    Service.build(settings, print)
    (worker,) = found
    assert [(source.kind, source.name) for source in worker.models] == [
        ("tokenizer", "tiny"),
        ("tokenizer", "other"),
        ("tokenizer", "codes"),
        ("generator", "shapes"),
    ]
    for name in set(WorkerSettings.__dataclass_fields__) - {"models"}:
        assert getattr(worker, name) == getattr(settings, name)


@pytest.mark.parametrize(("settings", "count"), [({"load": "first-use"}, 0), ({"model_memory_bytes": 1}, 0)])
def test_models_may_stay_outside_at_the_start(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], count: int
) -> None:
    found: list[WorkerSettings] = []

    def build(_: Settings, worker: WorkerSettings, *__: object) -> SimpleNamespace:
        found.append(worker)
        return SimpleNamespace()

    monkeypatch.setattr("service.state.MeteredEngine", build)
    service = Service.build(Settings(models=models_setting(models), **settings), print)
    assert len(found[0].models) == count
    assert service.lifecycle.facts(("tokenizer", "tiny"))["state"] == "unloaded"


def test_folders_of_models_must_be_there() -> None:
    with pytest.raises(ValueError, match="TESSERA_MODEL_FOLDERS: /nowhere"):
        Service.build(Settings(model_folders="/nowhere"), print)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'gone'"):
        Service.build(Settings(models="gone=/nowhere"), print)
