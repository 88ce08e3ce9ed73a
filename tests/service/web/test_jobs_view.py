"""Jobs, in a real browser against the stub server: the list, its progress, and an evaluation that is submitted."""

from __future__ import annotations

from typing import Any


def arrive(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url, "#jobs")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")


def job(visitor: Any, place: int = 1) -> str:
    script = "return document.querySelector(`.job:nth-child(${arguments[0]})`)?.innerText ?? ''"
    return str(visitor.run(script, place))


def test_without_jobs_it_says_what_they_are(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.wait(lambda: "No jobs yet" in visitor.text("jobs"), "the empty list says nothing")


def test_an_evaluation_is_submitted_and_followed(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.wait(lambda: visitor.value("job-data") == "photos", "the data sets are not there")
    assert visitor.value("job-protocol") == "canon-v1"
    visitor.choose("job-data", "faces")
    visitor.choose("job-count", "64")
    visitor.click("#job-submit")
    visitor.wait(lambda: visitor.visible(".job"), "the job is not listed")
    wanted = {
        "job": "reconstruct",
        "model": "demo",
        "data": "faces",
        "protocol": "canon-v1",
        "num_images": 64,
    }
    assert stub.asked("/v1/evaluations") == [wanted]
    assert "Next in line" in job(visitor)

    stub.jobs[0].update(status="in_progress", queue_position=None, phase="reconstructing", progress=25)
    stub.jobs[0].update(done=16, total=64, eta_s=200.0, started_at=stub.jobs[0]["created_at"])
    visitor.wait(lambda: "16 of 64" in job(visitor), "the progress is not shown")
    assert "about 3 min left" in job(visitor)
    assert visitor.run("return document.querySelector('.job progress').value") == 25

    ended = stub.jobs[0]["created_at"] + 100
    stub.jobs[0].update(
        status="completed", progress=100, completed_at=ended, metrics={"psnr": 27.2164, "rfid": None}
    )
    visitor.wait(lambda: "27.216" in job(visitor), "the figures are not shown")
    assert "took 2 min" in job(visitor)
    assert "not computed" in job(visitor)
    link = "return document.querySelector('.job a').getAttribute('href')"
    assert visitor.run(link) == "v1/evaluations/job_0/report"
    assert "done" in visitor.text("announce")


def test_a_job_is_cancelled_read_and_deleted(visitor: Any, stub: Any) -> None:
    stub.add_job(status="in_progress", queue_position=None)
    stub.add_job(
        kind="generate",
        object="job",
        status="failed",
        request={},
        completed_at=1_790_000_060,
        error={
            "code": "out_of_memory",
            "message": "The device has too little memory: ask for fewer pictures.",
        },
    )
    arrive(visitor, stub)
    visitor.wait(lambda: "fewer pictures" in job(visitor), "the failure is not explained")
    visitor.click(".job:nth-child(2) [aria-expanded]")
    visitor.wait(lambda: "64 of 341" in job(visitor, 2), "the log is not shown")
    visitor.click('.job:nth-child(2) [aria-label^="Cancel"]')
    visitor.wait(lambda: "cancelled" in job(visitor, 2), "it still runs")
    visitor.click('.job:nth-child(1) [aria-label^="Delete"]')
    visitor.wait(lambda: len(stub.jobs) == 1, "it was not deleted")
    visitor.wait(lambda: "2 jobs" not in visitor.text("jobs-note"), "the list still has it")


def test_a_server_that_keeps_no_jobs_says_how_it_would(visitor: Any, stub: Any) -> None:
    stub.jobs_on = False
    arrive(visitor, stub)
    visitor.wait(lambda: "switched off" in visitor.text("jobs"), "the view says nothing")
    assert "This server keeps no jobs: start it with TESSERA_STATE=FOLDER." in visitor.text("jobs")
    assert not visitor.visible("#job-form")
    assert visitor.hidden("error")
