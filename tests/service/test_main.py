"""``python -m service`` as a process: refusals at start, death of the worker, limits under load, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from service.__main__ import DrainingServer
from tests.service.conftest import (
    ROOT,
    Server,
    StartServer,
    as_file,
    environment,
    free_port,
    models_setting,
    picture,
)

BODY = as_file(picture(32, 32))
LONG = {"label": 0, "num_images": 8, "num_steps": 250, "output": "latent"}


def run(**settings: object) -> subprocess.CompletedProcess[str]:
    """Start the service and wait for it to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=environment(port=free_port(), **settings),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def passes(server: Server) -> int:
    """Generations that have reached the network, by the log of a server with log_level=debug."""
    return len(re.findall(r"GenerateJob \d+ joins", server.log.read_text()))


def made(server: Server) -> int:
    """Generations that have made all their steps, by the same log."""
    return server.log.read_text().count("has made its steps")


def error_code(answer: httpx.Response) -> str:
    """The code of an error, or nothing."""
    return str(answer.json().get("error", {}).get("code", ""))


@contextlib.contextmanager
def half_sent(server: Server) -> Iterator[Callable[[], int]]:
    """A request whose body is half sent and which the server has begun to read; sends the rest, gives the status."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=240)
    connection.putrequest("POST", "/v1/encode")
    connection.putheader("content-length", str(len(BODY)))
    connection.endheaders(BODY[:10])
    until(lambda: "tessera_body_bytes_held 0.0" not in server.get("/metrics").text)

    def finish() -> int:
        connection.send(BODY[10:])
        return connection.getresponse().status

    yield finish
    connection.close()


def start_long(server: Server, answers: list[httpx.Response]) -> threading.Thread:
    """Ask for a long generation and return when the network has it."""
    before = passes(server)
    asking = in_background(server, answers, LONG)
    until(lambda: passes(server) > before)
    return asking


def in_background(server: Server, answers: list[httpx.Response], json: dict[str, object]) -> threading.Thread:
    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            answers.append(client.post("/v1/generate", json=json))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_an_open_door_is_refused_with_a_sentence(models: dict[str, Path]) -> None:
    result = run(host="0.0.0.0", models=models_setting(models))
    assert result.returncode == 2
    assert "TESSERA_ALLOW_OPEN=1" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_model_is_refused_with_a_sentence(tmp_path: Path) -> None:
    result = run(models=f"gone={tmp_path / 'x'}")
    assert result.returncode == 2
    assert "'gone'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_damaged_weights_end_the_server_with_a_sentence(models: dict[str, Path], tmp_path: Path) -> None:
    for file in models["tiny"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    result = run(models=f"bad={tmp_path}")
    assert result.returncode == 1
    assert "model.safetensors was altered" in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_queue_a_dead_worker_and_a_clean_end(start_server: StartServer) -> None:
    """One server through its bad day; in one test because a start costs seconds."""
    server = start_server(queue_requests=1, log_level="debug", drain_timeout_s=240, body_timeout_s=240)
    answers: list[httpx.Response] = []

    asking = start_long(server, answers)
    full = server.post("/v1/encode", content=BODY)
    assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
    assert int(full.headers["retry-after"]) >= 1
    asking.join()
    assert answers.pop().status_code == 200

    first = server.worker_pid()
    asking = start_long(server, answers)
    os.kill(first, signal.SIGKILL)
    asking.join()
    lost = answers.pop()
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "worker_died")
    assert int(lost.headers["retry-after"]) >= 1
    assert server.get("/health/live").status_code == 200
    server.wait_ready()
    assert server.worker_pid() != first
    assert server.post("/v1/encode", content=BODY).status_code == 200

    worker = server.worker_pid()
    with half_sent(server) as finish:  # a request in the house, for as long as this test likes
        server.process.send_signal(signal.SIGTERM)
        until(lambda: error_code(server.get("/health/ready")) == "draining")
        refused = server.post("/v1/encode", content=BODY)
        assert (refused.status_code, error_code(refused)) == (503, "draining")
        assert refused.headers["retry-after"] == "5"
        assert server.get("/health/live").status_code == 200
        assert server.get("/v1/models").status_code == 200
        assert server.process.poll() is None
        assert finish() == 200  # what had begun is answered
    assert server.process.wait(60) == 0
    until(lambda: not alive(worker))
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_work_of_clients_that_go_is_never_run_and_no_worker_outlives_its_server(
    start_server: StartServer,
) -> None:
    server = start_server(log_level="debug", log_format="json")

    answers: list[httpx.Response] = []
    asking = start_long(server, answers)
    for _ in range(3):  # each goes while its request waits behind the long one
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.Client(base_url=server.url, timeout=httpx.Timeout(60, read=0.05)) as client,
        ):
            client.post("/v1/generate", json=LONG)
    asking.join()
    assert answers[0].status_code == 200
    assert server.post("/v1/generate", json={"label": 0}).status_code == 200
    assert made(server) == 2  # of five requests

    worker = server.worker_pid()
    server.process.kill()
    server.process.wait(30)
    until(lambda: not alive(worker))

    lines = [json.loads(line) for line in server.log.read_text().splitlines()[:-1]]  # the last may be cut off
    assert {line["process"] for line in lines} == {"http", "worker"}
    told = [line for line in lines if line["logger"] == "service.access" and line["op"] == "generate"]
    assert {line["status"] for line in told} == {200, 499}
    assert all(line["request_id"] and line["seconds"] > 0 for line in told)


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_jobs_learn_the_port_that_was_free() -> None:
    heard: list[int] = []

    async def nothing(scope: object, receive: object, send: object) -> None:
        return

    async def course() -> int:
        config = uvicorn.Config(nothing, port=0, lifespan="off", log_config=None)
        service = SimpleNamespace(jobs=SimpleNamespace(listens_on=heard.append))
        server = DrainingServer(config, service)  # type: ignore[arg-type]  # all that it asks of one
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port: int = server.servers[0].sockets[0].getsockname()[1]
        await server.shutdown()
        return port

    port = asyncio.run(course())
    assert heard == [port]
    assert port > 0
