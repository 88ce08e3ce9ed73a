"""Requests in the house: cancelled by id, out of time, pinned, and never more than refused when they cannot be."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.conftest import Server, StartServer

LONG = {"label": 0, "num_images": 8, "num_steps": 250, "output": "latent"}


@pytest.fixture(scope="module")
def small(start_server: StartServer) -> Server:
    """A server with fixed buckets, so that tests know what they get."""
    return start_server(buckets="1,2,4", max_batch=4, warmup_s=0)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_request_is_cancelled_by_its_id(small: Server) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=small.url, timeout=120) as client:
            answers.append(client.post("/v1/generate", json=LONG, headers={"x-request-id": "mine-1"}))

    asking = threading.Thread(target=ask)
    asking.start()
    while (done := small.client.delete("/v1/requests/mine-1")).status_code == 404:
        assert refusal(done) == (404, "unknown_request")
        assert asking.is_alive()
    assert done.json() == {"id": "mine-1", "cancelled": True}
    asking.join(60)
    assert refusal(answers[0]) == (410, "cancelled")
    assert refusal(small.client.delete("/v1/requests/mine-1")) == (404, "unknown_request")


def test_a_deadline_is_answered_in_time(small: Server) -> None:
    answer = small.post("/v1/generate", json=LONG, headers={"x-timeout-ms": "30"})
    assert refusal(answer) in ((504, "timed_out"), (429, "queue_full"))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-timeout-ms", "0"),
        ("x-timeout-ms", "soon"),
        ("x-batch-bucket", "3"),
        ("x-batch-bucket", "8"),
        ("x-batch-bucket", "4/"),
        ("x-priority", "urgent"),
    ],
)
def test_headers_that_mean_nothing_are_refused(small: Server, header: str, value: str) -> None:
    answer = small.post("/v1/generate", json={"label": 0}, headers={header: value})
    assert refusal(answer) == (422, "invalid_parameter")
    assert answer.json()["error"]["param"] == header


def test_the_bucket_is_told_and_pins_the_bytes(small: Server) -> None:
    asked = {"label": 1, "num_images": 3, "seed": 7, "output": "npy"}
    first = small.post("/v1/generate", json=asked)
    assert first.headers["x-batch-bucket"] == "4"
    one = small.post("/v1/generate", json=asked, headers={"x-batch-bucket": "1"})
    assert one.headers["x-batch-bucket"] == "1"
    mixed = small.post("/v1/generate", json=asked, headers={"x-batch-bucket": "4/2"})
    assert mixed.headers["x-batch-bucket"] == "4/2"
    again = small.post("/v1/generate", json=asked, headers={"x-batch-bucket": "4"})
    assert again.content == first.content
    for other in (one, mixed):
        difference = np.frombuffer(other.content[128:], np.uint8).astype(int) - np.frombuffer(
            first.content[128:], np.uint8
        )
        assert np.abs(difference).max() <= 1


def test_batch_priority_is_served(small: Server) -> None:
    answer = small.post("/v1/generate", json={"label": 1}, headers={"x-priority": "batch"})
    assert answer.status_code == 200, answer.text


def test_half_of_the_clients_vanish_and_the_others_are_answered(small: Server) -> None:
    """Those who stay get their pictures; the server is free at once, and nothing is left of those who left."""
    answers: list[int] = []

    def ask(patience: float) -> None:
        with httpx.Client(base_url=small.url, timeout=patience) as client:
            try:
                steps = 100 if patience < 1 else 3
                answers.append(client.post("/v1/generate", json={"label": 0, "num_steps": steps}).status_code)
            except httpx.ReadTimeout:
                answers.append(0)

    threads = [threading.Thread(target=ask, args=(0.05 if number % 2 else 120,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert answers.count(200) >= 4
    assert small.post("/v1/generate", json={"label": 0, "num_steps": 1}).status_code == 200


def test_two_workers_serve_and_one_death_is_survived(
    start_server: StartServer, models: dict[str, Path]
) -> None:
    server = start_server(
        device="cpu,cpu", models=f"tiny={models['tiny']},shapes={models['shapes']}", warmup_s=0
    )
    first = server.post("/v1/generate", json={"label": 1, "seed": 3, "output": "npy"})
    assert first.status_code == 200
    os.kill(server.worker_pid(), signal.SIGKILL)
    answers = [server.post("/v1/generate", json={"label": 1, "seed": 3, "output": "npy"}) for _ in range(4)]
    good = [answer for answer in answers if answer.status_code == 200]
    assert good
    assert all(answer.content == first.content for answer in good)
