"""``kill -9`` of the whole server while jobs wait and run: the next one loses none and runs none twice."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Server, StartServer
from tests.service.jobs.kinds.conftest import wait

LONG = {"label": 0, "num_images": 8, "num_steps": 250, "output": "latent"}
ASYNC = {"prefer": "respond-async"}


def submit(server: Server, **asked: Any) -> str:
    answer = server.post("/v1/generate", json={"num_steps": 2} | asked, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    return found


@pytest.mark.slow
def test_every_job_is_done_once(start_server: StartServer, photographs: Path, tmp_path: Path) -> None:
    settings = {"state": tmp_path / "state", "data": f"photos={photographs}", "job_places": 2}
    first = start_server(max_images=8, **settings)
    running = [submit(first, **LONG, seed=seed) for seed in (1, 2)]
    for job in running:
        assert wait(first, job, until=("in_progress",))["attempts"] == 1
    asked = {"data": "photos", "num_images": 4, "resolution": 32, "metrics": ["psnr"], "batch_size": 1}
    evaluation = first.post("/v1/evaluations", json=asked).json()["id"]
    wait(first, evaluation, until=("in_progress",))
    waiting = [submit(first, label="star", seed=seed) for seed in range(4)]
    assert first.get(f"/v1/jobs/{waiting[-1]}").json()["queue_position"] == 4
    worker = first.worker_pid()
    first.process.kill()
    os.kill(worker, signal.SIGKILL)
    first.process.wait()

    port = int(first.url.rpartition(":")[2])
    second = start_server(max_images=8, port=port, **settings)
    jobs = {job: wait(second, job) for job in (*running, *waiting, evaluation)}
    listed = second.get("/v1/jobs", params={"limit": 100}).json()["data"]
    assert {job["id"] for job in listed} == set(jobs)
    assert {job["status"] for job in jobs.values()} == {"completed"}, jobs
    assert [jobs[job]["attempts"] for job in running] == [2, 2]
    assert [jobs[job]["attempts"] for job in waiting] == [1] * 4
    for job in (*running, *waiting):
        assert second.get(f"/v1/jobs/{job}/result").content
    # The evaluation's process outlived its server, found the next one at the same address, and was not started again.
    log = second.get(f"/v1/evaluations/{evaluation}/log").text
    report = second.get(f"/v1/evaluations/{evaluation}/report", params={"format": "json"}).json()
    assert report["num_images"] == 4, log
    assert log.count("report.html") == 1, log  # what the evaluation says at its end
