"""What callers see: places in the line, and ends that follow from what is known and from nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from service.jobs.record import JobRecord, Progress, Result
from service.jobs.views import answer_of, eta_of, position_of

NOW = 1000.0


def record(number: int, state: str = "queued", **changes: Any) -> JobRecord:
    started = {"started_at": NOW - 10, "attempts": 1} if state != "queued" else {}
    base = JobRecord(
        **{"seq": number, "id": f"job_{number}", "kind": "encode", "lane": "requests", "owner": ""},
        **{
            "request": {"path": "/v1/encode", "headers": {"a": "b"}},
            "state": state,
            "created_at": NOW - 20.5,
        },
        **{"started_at": None, "ended_at": None, "expires_at": None, "not_before": 0.0, "attempts": 0},
        **{"interruptions": 0, "progress": Progress(), "error": None, "result": None, "num_bytes": 0},
        **{"fingerprint": "", "idempotency_key": None, "lease_owner": None, "lease_until": None},
        cancel_asked=False,
    )
    return replace(base, **(started | changes))


def show(job: JobRecord, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"progress": job.progress, "position": None, "eta_s": None}
    return answer_of(job, "job", **(told | changes))


def test_a_job_that_waits() -> None:
    shown = show(record(1), position=3, eta_s=12.34)
    assert (shown["status"], shown["progress"], shown["queue_position"], shown["eta_s"]) == (
        "queued",
        0,
        3,
        12.3,
    )
    assert (shown["object"], shown["created_at"], shown["started_at"]) == ("job", 979, None)
    assert shown["request"] == {"path": "/v1/encode"}
    assert (shown["result"], shown["error"], shown["cancelling"]) == (None, None, False)


def test_a_job_that_runs() -> None:
    shown = show(record(1, "running", cancel_asked=True), progress=Progress(3, 12, "steps", None, 4.0))
    assert (shown["status"], shown["progress"], shown["done"], shown["total"]) == ("in_progress", 25, 3, 12)
    assert (shown["phase"], shown["cancelling"]) == ("steps", True)


def test_jobs_that_have_ended() -> None:
    done = record(1, "succeeded", ended_at=NOW, expires_at=NOW + 5, result=Result("result", "image/png"))
    shown = show(done)
    assert (shown["status"], shown["progress"], shown["media_type"]) == ("completed", 100, "image/png")
    assert (shown["result"], shown["completed_at"], shown["expires_at"]) == (
        "/v1/jobs/job_1/result",
        1000,
        1005,
    )
    failed = show(record(2, "failed", error={"code": "c", "message": "m", "more": 1}))
    assert (failed["status"], failed["error"]) == ("failed", {"code": "c", "message": "m"})
    assert failed["result"] is None


def test_places_in_the_line() -> None:
    ahead = [record(1, "running"), record(2), record(3)]
    assert position_of(record(4), ahead) == 3
    assert position_of(record(4), ahead[:1]) == 1
    assert position_of(record(1, "running"), []) is None


def eta(job: JobRecord, *ahead: JobRecord, **changes: Any) -> float | None:
    told: dict[str, Any] = {"now": NOW, "typical_s": {"encode": 30.0}, "news": {}, "places": 1}
    return eta_of(job, ahead, **(told | changes))


def test_ends() -> None:
    running = record(1, "running")
    assert eta(running, typical_s={}) is None
    assert eta(running) == 20.0  # it has run for 10 s of the usual 30
    assert eta(running, news={"job_1": Progress(1, 5)}) == 40.0
    assert eta(running, news={"job_1": Progress(1, 5, eta_s=7.0)}) == 7.0
    assert eta(replace(running, state="succeeded")) is None


@pytest.mark.parametrize(("places", "expected"), [(1, 20.0 + 30.0 + 30.0), (2, 25.0 + 30.0)])
def test_the_line_is_worked_off(places: int, expected: float) -> None:
    assert eta(record(3), record(1, "running"), record(2), places=places) == expected


def test_nothing_is_told_of_what_nobody_knows() -> None:
    assert eta(record(3), typical_s={"encode": None}) is None
    assert eta(record(3), record(2, kind="generate")) is None
