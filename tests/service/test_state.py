"""The parts of the service are built from the settings, and nothing is started."""

from pathlib import Path

import pytest

from service.engine.messages import WorkerSettings
from service.settings import Settings
from service.state import Service
from tests.service.conftest import models_setting


def test_the_worker_gets_what_the_settings_say(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[WorkerSettings] = []
    monkeypatch.setattr("service.state.MeteredEngine", lambda _, worker, *__: found.append(worker))
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


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'gone'"):
        Service.build(Settings(models="gone=/nowhere"), print)
