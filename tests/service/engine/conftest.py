"""Models loaded in this process, for tests of the worker's parts."""

from pathlib import Path

import pytest

from service.engine.messages import ModelSource, WorkerSettings
from service.engine.models import Models, load
from tests.service.engine.bench import bench, gate
from tests.service.engine.scripted import script

__all__ = ["bench", "gate", "script"]  # fixtures


def worker_settings(folders: dict[str, Path], **changes: object) -> WorkerSettings:
    """Settings for the tiny models."""
    settings: dict[str, object] = {
        "models": tuple(
            ModelSource("generator" if name == "shapes" else "tokenizer", name, str(path))
            for name, path in folders.items()
        ),
        "device": "cpu",
        "dtype": "float32",
        "max_pixels": 512 * 512,
        "max_batch": 8,
        "batch_pixels": 8 * 64 * 64,
        "tile_above_pixels": 128 * 128,
        "tile_side": 96,
        "before_threads": 2,
        "after_threads": 2,
        "log_level": "warning",
    }
    return WorkerSettings(**(settings | changes))  # type: ignore[arg-type]  # names checked by the dataclass


@pytest.fixture(scope="session")
def loaded(models: dict[str, Path]) -> Models:
    """The tiny models as the worker holds them."""
    return load(worker_settings(models))
