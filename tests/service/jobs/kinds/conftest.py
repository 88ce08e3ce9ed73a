"""Requests as jobs, and what became of them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.service.conftest import Server

ENDED = ("completed", "failed", "cancelled")
WAIT_S = 240.0


def wait(server: Server, job_id: str, *, until: tuple[str, ...] = ENDED) -> dict[str, Any]:
    """The job once it has one of these statuses."""
    deadline = time.monotonic() + WAIT_S
    while True:
        job: dict[str, Any] = server.get(f"/v1/jobs/{job_id}").json()
        if job["status"] in until:
            return job
        assert job["status"] not in ENDED, job
        assert time.monotonic() < deadline, job
        time.sleep(0.05)


def as_job(server: Server, path: str, **request: Any) -> httpx.Response:
    """The result of a request that is sent as a job."""
    headers = {"prefer": "respond-async"} | request.pop("headers", {})
    started = server.post(path, headers=headers, **request)
    assert started.status_code == 202, started.text
    assert started.headers["preference-applied"] == "respond-async"
    assert started.headers["location"] == f"/v1/jobs/{started.json()['id']}"
    job = wait(server, started.json()["id"])
    assert job["status"] == "completed", job
    assert (job["progress"], job["attempts"], job["queue_position"], job["eta_s"]) == (100, 1, None, None)
    found = server.get(job["result"])
    assert found.headers["content-type"] == job["media_type"]
    return found


def same_answer(now: httpx.Response, later: httpx.Response) -> bool:
    """Whether two answers have the same bytes, type and headers about them."""
    assert (now.status_code, later.status_code) == (200, 200), now.text

    def about(answer: httpx.Response) -> dict[str, str]:
        return {name: value for name, value in answer.headers.items() if name.startswith("x-tessera-")}

    assert now.headers["content-type"] == later.headers["content-type"]
    assert about(now) == about(later)
    return now.content == later.content
