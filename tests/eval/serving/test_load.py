"""Loads against a server in this process: who sends when, and what is noted."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from eval.serving.load import Asked, Plan, carry_out
from tests.eval.serving.conftest import Busy

ROOT = Path(__file__).parents[3]


def plan(busy: Busy, mode: str, **changes: object) -> Plan:
    asked = [Asked("/a", None, {"x": "y"}), Asked("/b", None)]
    facts = {"host": "127.0.0.1", "port": busy.port, "requests": [asdict(one) for one in asked], "mode": mode}
    return Plan.of({**facts, **changes})


def test_a_closed_loop_keeps_every_connection_busy(busy: Busy) -> None:
    busy.delay_s = 0.01
    samples = carry_out(plan(busy, "closed", connections=3, seconds=0.3))
    assert busy.most == 3
    assert {sample.status for sample in samples} == {200}
    assert all(
        sample.latency_s >= 0.01 and sample.batch_size == 2 and sample.num_bytes == 2 for sample in samples
    )
    assert {head.split()[1] for head in busy.seen} == {b"/a", b"/b"}


def test_bodies_are_sent(busy: Busy, body: Callable[[bytes], str]) -> None:
    asked = Asked("/c", body(b"picture"))
    carry_out(Plan("127.0.0.1", busy.port, [asked], "closed", seconds=0.02))
    assert busy.seen[0].endswith(b"picture")


def test_an_open_loop_sends_whatever_the_answers_do(busy: Busy) -> None:
    busy.delay_s = 0.2
    samples = carry_out(plan(busy, "open", rate=100.0, seconds=0.3, seed=4))
    drawn = random.Random(4)
    expected, at = [], 0.0
    while (at := at + drawn.expovariate(100.0)) < 0.3:
        expected.append(at)
    assert sorted(sample.at for sample in samples) == expected
    assert busy.most > 1
    assert all(sample.latency_s >= 0.2 for sample in samples)


def test_a_server_that_is_full_is_noted_with_its_word(busy: Busy) -> None:
    busy.delay_s, busy.places = 2.0, 1
    samples = carry_out(plan(busy, "open", every_s=0.02, seconds=0.1, drain_s=0.2))
    refused = [sample for sample in samples if sample.status == 429]
    assert {sample.retry_after_ms for sample in refused} == {70}
    assert (len(refused), len(samples)) == (3, 4)
    assert [sample.status for sample in samples if sample not in refused] == [0]


def test_half_of_a_storm_goes_away(busy: Busy) -> None:
    busy.delay_s = 0.3
    samples = carry_out(plan(busy, "storm", connections=6, vanish_after_s=0.05, drain_s=5.0))
    assert len(busy.seen) == 6
    assert [sample.status for sample in samples] == [200] * 3
    for _ in range(500):  # the server sees an end a little after the client makes it
        if busy.gone == 3:
            break
        time.sleep(0.01)
    assert busy.gone == 3
    assert len(carry_out(plan(busy, "storm", connections=4, drain_s=5.0))) == 4


def test_nobody_answers(unused_port: int) -> None:
    samples = carry_out(Plan("127.0.0.1", unused_port, [Asked("/")], "open", every_s=0.01, seconds=0.0))
    assert samples == []


def test_as_a_process_without_torch(busy: Busy) -> None:
    code = (
        "import sys; from eval.serving.load import main; main(); "
        "sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asdict(plan(busy, "closed", seconds=0.05))),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {row[2] for row in json.loads(done.stdout)} == {200}
