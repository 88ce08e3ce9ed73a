"""The worker process as seen from the HTTP process: it starts, reports, and is seen to end."""

from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from service.engine.launch import spawn
from service.engine.messages import ModelSource, Ready, Stop, WorkerSettings
from service.engine.vitals import Vitals

SETTINGS = {
    "device": "cpu",
    "dtype": "float32",
    "max_pixels": 10_000,
    "max_batch": 2,
    "batch_pixels": 10_000,
    "tile_above_pixels": 10_000,
    "tile_side": 64,
    "before_threads": 1,
    "after_threads": 1,
    "log_level": "warning",
    "warmup_s": 0.0,
}


@pytest.mark.slow
def test_ready_then_stop_then_the_end_of_the_pipe(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handle = spawn(
        WorkerSettings(models=(ModelSource("tokenizer", "tiny", str(models["tiny"])),), **SETTINGS)
    )
    try:
        ready = handle.connection.recv()
        assert isinstance(ready, Ready)
        assert (ready.device, ready.dtype) == ("cpu", "float32")
        assert [(model.kind, model.name) for model in ready.loaded] == [("tokenizer", "tiny")]
        assert ready.seconds_per_cost["EncodeJob", "tiny"] > 0
        handle.connection.send(Stop())
        with pytest.raises(EOFError):
            _last_words(handle.connection)
        assert handle.describe_end() == "exit code 0"
    finally:
        handle.kill()
        handle.connection.close()


def _last_words(connection: Connection) -> None:
    while isinstance(connection.recv(), Vitals):
        pass
