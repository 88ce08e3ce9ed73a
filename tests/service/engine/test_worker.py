"""The three stages in this process, over a real pipe: batches, isolation, cancellation, the end."""

from __future__ import annotations

import io
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.pipeline import Pipeline
from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    EncodeJob,
    Failure,
    GenerateJob,
    Job,
    LoadModel,
    MemoryShort,
    ModelFailed,
    ModelLoaded,
    ModelUnloaded,
    Progress,
    Stop,
    UnloadModel,
)
from service.engine.models import Models, load
from service.engine.operations.encode import Encode
from service.engine.worker import Worker
from service.errors import InternalError, InvalidParameter, NotAnImage, NotReady, TimedOut, TruncatedImage
from tests.service.conftest import as_file, as_pixels, picture
from tests.service.engine.conftest import worker_settings
from tokenizer.projection import Projection


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


def test_what_queues_while_the_network_is_busy_is_one_batch(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    for number in range(2, 7):
        bench.send(number, as_file(picture(16, 15, seed=number)))  # pads to the same size
    bench.send(7, as_file(picture(24, 16)))
    bench.wait_for_prepared(6)
    bench.open.set()
    answers = bench.receive(7)
    assert bench.sizes == [1, 1, 5]  # the other shape has its turn before those whose shape has just had one
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
    bench.pipe.send(Cancel(1))  # runs already: its answer is not written
    while not bench.worker._tasks[1].cancelled:
        time.sleep(0.001)
    bench.open.set()
    assert bench.receive(1) == {1: Dropped(1)}
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


def test_batch_work_lets_interactive_work_pass(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    for number in range(2, 5):
        bench.send(number, as_file(picture(24, 16)), priority="batch")
    bench.wait_for_prepared(3)
    bench.send(5, as_file(picture(20, 16)))
    bench.wait_for_prepared(4)
    bench.open.set()
    order = []
    for _ in range(5):
        assert bench.pipe.poll(60)
        order.append(bench.pipe.recv().id)
    assert order.index(5) < min(order.index(number) for number in (2, 3, 4))
    assert bench.sizes == [1, 1, 3]


def test_a_late_job_is_answered_and_not_run(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    bench.send(2, as_file(picture(16, 16)), deadline=time.monotonic() - 1)
    bench.wait_for_prepared(1)
    bench.open.set()
    answers = bench.receive(2)
    assert isinstance(answers[2], Failure)
    assert isinstance(answers[2].error, TimedOut)
    assert bench.sizes == [1]


def test_the_bucket_is_told_and_can_be_pinned_to_the_same_bytes(bench: Bench) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    bodies = {number: as_file(picture(16, 16, seed=number)) for number in range(2, 5)}
    for number, body in bodies.items():
        bench.send(number, body)
    bench.wait_for_prepared(3)
    bench.open.set()
    together = bench.receive(4)
    assert [together[number].bucket for number in (1, 2, 3, 4)] == [1, 4, 4, 4]
    for number, body in bodies.items():
        bench.send(10 + number, body, bucket=4)
        alone = bench.receive(1)[10 + number]
        assert (alone.bucket, alone.batch_size) == (4, 1)
        assert alone.body == together[number].body


def test_a_pinned_bucket_has_the_limits_of_any_pass(bench: Bench) -> None:
    bench.open.set()
    bench.send(1, as_file(picture(128, 64)), bucket=8)  # eight times 8,192 pixels; a pass takes 32,768
    bench.send(2, as_file(picture(128, 64)), bucket=4)
    answers = bench.receive(2)
    assert isinstance(answers[1], Failure)
    assert isinstance(answers[1].error, InvalidParameter)
    assert answers[2].bucket == 4


def test_short_memory_is_told_and_survived(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.send(1, as_file(picture(16, 16)))
    assert bench.entered.wait(60)
    core = Encode.core

    def short(self: Encode, batch: Any, how: Any) -> Any:
        if how.bucket > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return core(self, batch, how)

    monkeypatch.setattr(Encode, "core", short)
    for number in range(2, 5):
        bench.send(number, as_file(picture(16, 16, seed=number)))
    bench.wait_for_prepared(3)
    bench.open.set()
    messages = []
    while sum(isinstance(message, Answer) for message in messages) < 4:
        assert bench.pipe.poll(60)
        messages.append(bench.pipe.recv())
    assert [message.rows for message in messages if isinstance(message, MemoryShort)] == [4, 2]
    assert not [message for message in messages if isinstance(message, Failure)]


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


def test_the_same_seed_and_bucket_are_the_same_bytes_alone_and_among_32(bench: Bench, gate: Gate) -> None:
    gate.free.set()
    bench.pipe.send(generation(1, bucket=8))
    alone = bench.receive(1)[1]
    gate.free.clear()
    for number in range(2, 34):
        other = generation(
            number, seed=number, num_steps=2 + number % 4, guidance=1.0 + number % 2, label=number % 3,
            num_images=1 + number % 2, bucket=8 if number % 3 else None,
        )  # fmt: skip
        bench.pipe.send(other)
        if number == 17:
            bench.pipe.send(generation(100, bucket=8))
    assert gate.began.acquire(timeout=60)
    gate.free.set()
    answers = bench.receive(33)
    assert all(isinstance(answer, Answer) for answer in answers.values())
    mine = answers[100]
    assert mine.body == alone.body
    assert (mine.bucket, mine.decode_bucket, alone.bucket) == (8, 8, 8)
    assert mine.batch_size > 1
    bench.pipe.send(generation(200, bucket=1))
    other = bench.receive(1)[200]
    pixels = [np.load(io.BytesIO(answer.body)).astype(int) for answer in (alone, other)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1  # across buckets at most one grey level


def test_what_an_answer_tells_of_buckets_pins_it(bench: Bench, gate: Gate) -> None:
    """Three pictures at once step and decode in buckets of their own choice; pinned to these, alone, the same bytes."""
    gate.free.set()
    bench.pipe.send(generation(1, num_images=3))
    first = bench.receive(1)[1]
    bench.pipe.send(generation(2, num_images=3, bucket=first.bucket, decode_bucket=first.decode_bucket))
    again = bench.receive(1)[2]
    assert again.body == first.body
    assert (again.bucket, again.decode_bucket) == (first.bucket, first.decode_bucket)


def test_a_cancelled_generation_makes_one_more_step_at_most(bench: Bench, gate: Gate) -> None:
    bench.pipe.send(generation(1, num_steps=50))
    assert gate.began.acquire(timeout=60)  # the first step has begun
    bench.pipe.send(Cancel(1))
    while not bench.worker._tasks[1].cancelled:
        time.sleep(0.001)
    gate.free.set()
    assert bench.receive(1) == {1: Dropped(1)}
    assert len(gate.passes) == 1


def test_when_half_of_the_clients_vanish_no_step_is_made_for_them(bench: Bench, gate: Gate) -> None:
    for number in range(8):
        bench.pipe.send(generation(number, num_steps=6, seed=number, bucket=1))
    for _ in range(5):
        assert gate.began.acquire(timeout=60)
        gate.tickets.release()
    assert gate.began.acquire(timeout=60)  # the sixth pass runs
    running = len(gate.passes)
    for number in range(0, 8, 2):
        bench.pipe.send(Cancel(number))
    while sum(task.cancelled for task in list(bench.worker._tasks.values())) < 4:
        assert len(gate.passes) == running
        time.sleep(0.001)
    gate.free.set()
    answers = bench.receive(8)
    assert {number for number, answer in answers.items() if isinstance(answer, Dropped)} == {0, 2, 4, 6}
    assert len(gate.passes) <= 4 * 6 + running  # nothing after the pass that ran when they left


def test_a_deadline_is_noticed_between_two_steps(bench: Bench, gate: Gate) -> None:
    bench.pipe.send(generation(1, num_steps=50, deadline=time.monotonic() + 0.3))
    assert gate.began.acquire(timeout=60)
    time.sleep(0.4)
    gate.free.set()
    answer = bench.receive(1)[1]
    assert isinstance(answer, Failure)
    assert isinstance(answer.error, TimedOut)
    assert len(gate.passes) == 1


def test_encoding_has_its_turn_between_the_steps(bench: Bench, gate: Gate) -> None:
    bench.pipe.send(generation(1, num_steps=50))
    assert gate.began.acquire(timeout=60)
    bench.send(2, as_file(picture(16, 16)))
    bench.wait_for_prepared(1)
    for _ in range(3):
        gate.tickets.release()
    assert isinstance(bench.receive(1)[2], Answer)
    assert len(gate.passes) <= 4
    gate.free.set()
    assert isinstance(bench.receive(1)[1], Answer)


def test_generation_tells_its_steps_and_shows_where_it_is_heading(
    bench: Bench, gate: Gate, loaded: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = Projection(weights=((0.3,) * 8,) * 3, bias=(0.0, 0.1, 0.2), explained=0.5)
    monkeypatch.setattr(loaded.tokenizers["tiny"], "projection", colours)
    gate.free.set()
    bench.pipe.send(generation(1, num_steps=6, progress_every=2, previews=True))
    messages = []
    while not (messages and isinstance(messages[-1], Answer)):
        assert bench.pipe.poll(60)
        messages.append(bench.pipe.recv())
    told = [message for message in messages if isinstance(message, Progress)]
    assert [message.step for message in told] == sorted({message.step for message in told})
    assert {message.step for message in told} <= {2, 4, 6}
    assert all(message.num_steps == 6 for message in told)
    shown = [as_pixels(message.preview) for message in told if message.preview is not None]
    assert all(pixels.shape == (32, 32, 3) for pixels in shown)


def test_images_start_from_a_picture_and_stay_outside_of_the_mask(bench: Bench, gate: Gate) -> None:
    gate.free.set()
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[:, :16] = 255
    given = {"init": as_file(picture(32, 32)), "strength": 0.5, "mask": as_file(mask)}
    for number, changes in enumerate((given, given | {"seed": 8}, given | {"strength": 0.0}), start=1):
        bench.pipe.send(generation(number, **changes))
    answers = bench.receive(3)
    one, two, kept = (np.load(io.BytesIO(answers[number].body)).astype(int) for number in (1, 2, 3))
    assert np.abs(one - kept)[:, 16:].max() <= 1  # the reconstruction, whatever the seed
    assert np.abs(two - kept)[:, 16:].max() <= 1
    assert np.abs(one - two)[:, :16].max() > 1
    assert len(gate.passes) == 4  # half of four steps, twice; none at strength 0


def test_models_are_loaded_and_unloaded_between_passes(models: dict[str, Any]) -> None:
    ours, theirs = multiprocessing.Pipe()
    sources = {source.name: source for source in worker_settings(models).models}
    served = load(worker_settings(models, models=(sources["tiny"],), warmup_s=0.0))
    thread = threading.Thread(target=Worker(theirs, served).serve)
    thread.start()

    def heard() -> Any:
        assert ours.poll(60)
        return ours.recv()

    def encode(job_id: int, model: str) -> Job:
        return EncodeJob(
            id=job_id,
            model=model,
            cost=64,
            submitted_at=0.0,
            body=as_file(picture(16, 16)),
            format="npy",
            view="rgb",
        )

    try:
        ours.send(encode(1, "other"))
        answer = heard()
        assert isinstance(answer, Failure)
        assert isinstance(answer.error, NotReady)
        for name in ("other", "shapes"):
            ours.send(LoadModel(sources[name]))
            told = heard()
            assert isinstance(told, ModelLoaded)
            assert (told.name, told.kind) == (name, sources[name].kind)
            assert told.memory_bytes > 0
        ours.send(encode(2, "other"))
        assert isinstance(heard(), Answer)
        ours.send(generation(3))
        assert isinstance(heard(), Answer)
        ours.send(UnloadModel("tokenizer", "tiny"))
        told = heard()
        assert isinstance(told, ModelFailed)
        assert "unload those first" in told.error.message
        ours.send(UnloadModel("tokenizer", "other"))
        assert heard() == ModelUnloaded("tokenizer", "other")
        ours.send(encode(4, "other"))
        assert isinstance(heard().error, NotReady)
        ours.send(LoadModel(type(sources["tiny"])("tokenizer", "gone", "/nowhere")))
        assert isinstance(heard(), ModelFailed)
        ours.send(encode(5, "tiny"))
        assert isinstance(heard(), Answer)
    finally:
        ours.send(Stop())
        thread.join(60)
        ours.close()
        theirs.close()
