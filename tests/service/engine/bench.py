"""A worker on a thread of this process, with gates on its network; for tests of its stages."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

from diffusion.pipeline import Pipeline
from service.engine.messages import (
    Answer,
    Dropped,
    EncodeJob,
    Failure,
    GenerateJob,
    Stop,
)
from service.engine.models import Models
from service.engine.operations.encode import Encode
from service.engine.worker import Worker


@dataclass
class Bench:
    """A worker on a thread, and gates on its network."""

    pipe: Connection
    worker: Worker
    entered: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)
    broken: set[tuple[int, int]] = field(default_factory=set)

    def send(self, job_id: int, body: bytes, **envelope: Any) -> None:
        self.pipe.send(
            EncodeJob(
                id=job_id,
                model="tiny",
                cost=64,
                submitted_at=0.0,
                body=body,
                format="npy",
                view="rgb",
                **envelope,
            )
        )

    def wait_for_prepared(self, count: int) -> None:
        """Until the threads that decode pictures have put that many jobs before the network."""
        deadline = time.monotonic() + 60
        while self.worker.num_ready != count:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def receive(self, count: int) -> dict[int, Any]:
        """The next answers, failures and drops by job."""
        messages: dict[int, Any] = {}
        while len(messages) < count:
            assert self.pipe.poll(60)
            message = self.pipe.recv()
            if isinstance(message, Answer | Failure | Dropped):
                messages[message.id] = message
        return messages


@pytest.fixture
def bench(loaded: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    ours, theirs = multiprocessing.Pipe()
    bench = Bench(ours, Worker(theirs, loaded))
    core = Encode.core

    def gated(self: Encode, batch: Any, how: Any) -> Any:
        bench.sizes.append(len(batch))
        bench.entered.set()
        assert bench.open.wait(60)
        if any(item.size in bench.broken for item in batch):
            raise RuntimeError("the network broke")
        return core(self, batch, how)

    monkeypatch.setattr(Encode, "core", gated)
    thread = threading.Thread(target=bench.worker.serve)
    thread.start()
    yield bench
    bench.open.set()
    ours.send(Stop())
    thread.join(60)
    assert not thread.is_alive()
    ours.close()
    theirs.close()


def generation(job_id: int, **changes: Any) -> GenerateJob:
    settings: dict[str, Any] = {
        "model": "shapes", "cost": 1, "submitted_at": time.monotonic(), "label": 1, "num_images": 1, "num_steps": 4,
        "guidance": 2.5, "seed": 7, "size": (32, 32), "output": "npy",
    }  # fmt: skip
    return GenerateJob(id=job_id, **(settings | changes))


@dataclass
class Gate:
    """Lets the steps of a pipeline through one by one."""

    free: threading.Event = field(default_factory=threading.Event)
    tickets: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    passes: list[int] = field(default_factory=list)

    def hold(self, rows: int) -> None:
        self.passes.append(rows)
        self.began.release()
        while not self.free.is_set() and not self.tickets.acquire(timeout=0.005):
            pass


@pytest.fixture
def gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    step = Pipeline.step

    def held(self: Pipeline, z_t: torch.Tensor, *numbers: Any, **options: Any) -> torch.Tensor:
        gate.hold(len(z_t))
        return step(self, z_t, *numbers, **options)

    monkeypatch.setattr(Pipeline, "step", held)
    bench.open.set()
    yield gate
    gate.free.set()
