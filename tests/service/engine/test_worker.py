"""The three stages in this process, over a real pipe: batches, isolation, cancellation, the end."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

from service.engine.messages import Answer, Cancel, Dropped, EncodeJob, Failure, Stop
from service.engine.models import Models
from service.engine.operations.encode import Encode
from service.engine.worker import Worker, to_service_error
from service.errors import InternalError, NotAnImage, OutOfMemory, TruncatedImage
from tests.service.conftest import as_file, picture


@dataclass
class Bench:
    """A worker on a thread, and gates on its network."""

    pipe: Connection
    worker: Worker
    entered: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)
    broken: set[tuple[int, int]] = field(default_factory=set)

    def send(self, job_id: int, body: bytes) -> None:
        self.pipe.send(
            EncodeJob(id=job_id, model="tiny", cost=64, submitted_at=0.0, body=body, format="npy", view="rgb")
        )

    def wait_for_prepared(self, count: int) -> None:
        """Until the threads that decode pictures have put that many jobs before the network."""
        deadline = time.monotonic() + 60
        while self.worker.num_ready != count:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def receive(self, count: int) -> dict[int, Answer | Failure | Dropped]:
        messages = {}
        for _ in range(count):
            assert self.pipe.poll(60)
            message = self.pipe.recv()
            messages[message.id] = message
        return messages


@pytest.fixture
def bench(loaded: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    ours, theirs = multiprocessing.Pipe()
    bench = Bench(ours, Worker(theirs, loaded))
    core = Encode.core

    def gated(self: Encode, batch: Any) -> Any:
        bench.sizes.append(len(batch))
        bench.entered.set()
        assert bench.open.wait(60)
        if any(item.size in bench.broken for item in batch):
            raise RuntimeError("the network broke")
        return core(self, batch)

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


def test_what_queues_while_the_network_is_busy_is_one_batch(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    for number in range(2, 7):
        bench.send(number, as_file(picture(16, 15, seed=number)))  # pads to the same size
    bench.send(7, as_file(picture(24, 16)))
    bench.wait_for_prepared(6)
    bench.open.set()
    answers = bench.receive(7)
    assert bench.sizes == [1, 5, 1]
    assert [answers[number].batch_size for number in range(1, 8)] == [1, 5, 5, 5, 5, 5, 1]


def test_a_batched_answer_equals_the_answer_alone(bench: Bench) -> None:
    bench.open.set()
    bodies = {number: as_file(picture(16, 16, seed=number)) for number in range(5)}
    alone = {}
    for number, body in bodies.items():
        bench.send(number, body)
        alone |= bench.receive(1)
    bench.open.clear()
    bench.entered.clear()
    bench.send(100, bodies[0])
    assert bench.entered.wait(60)
    for number, body in bodies.items():
        bench.send(number, body)
    bench.wait_for_prepared(5)
    bench.open.set()
    together = bench.receive(6)
    assert together[0].batch_size == 5
    for number in bodies:
        first = torch.frombuffer(bytearray(alone[number].body[128:]), dtype=torch.float32)
        second = torch.frombuffer(bytearray(together[number].body[128:]), dtype=torch.float32)
        assert alone[number].body[:128] == together[number].body[:128]
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_a_job_that_breaks_the_network_fails_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.broken.add((15, 16))
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    bench.send(2, as_file(picture(15, 16)))
    bench.send(3, as_file(picture(16, 16)))
    bench.wait_for_prepared(2)
    with caplog.at_level(logging.WARNING):
        bench.open.set()
        answers = bench.receive(3)
    assert bench.sizes == [1, 2, 1, 1]
    assert isinstance(answers[1], Answer)
    assert isinstance(answers[3], Answer)
    assert isinstance(answers[2], Failure)
    assert isinstance(answers[2].error, InternalError)
    assert str(answers[2].error.details["incident"]) in caplog.text
    assert "the network broke" not in answers[2].error.message


def test_bad_pictures_answer_themselves(bench: Bench) -> None:
    bench.open.set()
    bench.send(1, b"hello")
    bench.send(2, as_file(picture(64, 64))[:1000])
    bench.send(3, as_file(picture(16, 16)))
    answers = bench.receive(3)
    assert [type(answers[number].error) for number in (1, 2)] == [NotAnImage, TruncatedImage]
    assert isinstance(answers[3], Answer)


def test_a_cancelled_job_is_dropped_before_it_runs(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    bench.send(2, as_file(picture(16, 16)))
    bench.wait_for_prepared(1)
    bench.pipe.send(Cancel(2))
    assert bench.receive(1) == {2: Dropped(2)}
    bench.pipe.send(Cancel(1))  # runs already: it is answered
    bench.open.set()
    assert isinstance(bench.receive(1)[1], Answer)
    assert bench.sizes == [1]


def test_timings_tell_every_stage(bench: Bench) -> None:
    bench.open.set()
    bench.send(1, as_file(picture(16, 16)))
    timings = bench.receive(1)[1].timings_ms
    assert timings.keys() == {"queue", "before", "core", "after"}
    assert all(spent >= 0 for spent in timings.values())
    assert timings["core"] > 0


def test_stop_answers_what_is_on_board(bench: Bench) -> None:
    for number in range(4):
        bench.send(number, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    bench.pipe.send(Stop())
    bench.open.set()
    assert all(isinstance(answer, Answer) for answer in bench.receive(4).values())


def test_memory_is_a_refusal_and_defects_are_not_told() -> None:
    assert isinstance(to_service_error(torch.OutOfMemoryError("CUDA out of memory"), "x"), OutOfMemory)
    assert isinstance(
        to_service_error(RuntimeError("DefaultCPUAllocator: can't allocate memory"), "x"), OutOfMemory
    )
    error = to_service_error(KeyError("/secret/path"), "x")
    assert isinstance(error, InternalError)
    assert "secret" not in error.message
