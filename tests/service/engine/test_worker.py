"""The three stages in this process, over a real pipe: batches, isolation, cancellation, the end."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from typing import Any

import pytest
import torch

from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    EncodeJob,
    Failure,
    Job,
    LoadModel,
    MemoryShort,
    ModelFailed,
    ModelLoaded,
    ModelUnloaded,
    Stop,
    UnloadModel,
)
from service.engine.models import load
from service.engine.operations.encode import Encode
from service.engine.worker import Worker
from service.errors import InternalError, InvalidParameter, NotAnImage, NotReady, TimedOut, TruncatedImage
from tests.service.conftest import as_file, picture
from tests.service.engine.bench import Bench, generation
from tests.service.engine.conftest import worker_settings


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
