"""Generation through the stages: steps beside others, cancelled, late, shown, and the same bytes whoever is beside."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest

from service.engine.messages import (
    Answer,
    Cancel,
    Dropped,
    Failure,
    Progress,
)
from service.engine.models import Models
from service.errors import TimedOut
from tests.service.conftest import as_file, as_pixels, picture
from tests.service.engine.bench import Bench, Gate, generation
from tokenizer.projection import Projection


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
    given = {"init": as_file(picture(32, 32)), "strength": 0.5, "mask": as_file(mask), "bucket": 1}
    for number, changes in enumerate((given, given | {"seed": 8}, given | {"strength": 0.0}), start=1):
        bench.pipe.send(generation(number, **changes))
    answers = bench.receive(3)
    one, two, kept = (np.load(io.BytesIO(answers[number].body)).astype(int) for number in (1, 2, 3))
    assert np.abs(one - kept)[:, 16:].max() <= 1  # the reconstruction, whatever the seed
    assert np.abs(two - kept)[:, 16:].max() <= 1
    assert np.abs(one - two)[:, :16].max() > 1
    assert len(gate.passes) == 4  # half of four steps, twice; none at strength 0
