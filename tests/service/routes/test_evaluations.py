"""Evaluations over HTTP: what is refused at once, and what the list shows (whole ones: jobs/kinds)."""

from typing import Any

import pytest

from tests.service.conftest import Server
from tests.service.jobs.kinds.conftest import wait


def test_data_sets_are_names(server: Server) -> None:
    assert server.get("/v1/evaluations/data").json() == {"data": ["photos"]}


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"data": "elsewhere"}, 404, "unknown_data_set", "data"),
        ({"data": "../photos"}, 404, "unknown_data_set", "data"),
        ({"data": "photos", "model": "none"}, 404, "unknown_model", "model"),
        ({"data": "photos", "model": "tiny", "job": "generate"}, 404, "unknown_model", "model"),
        ({"data": "photos", "protocol": "x=y"}, 422, "invalid_parameter", "protocol"),
        ({"data": "photos", "data.path": "/etc"}, 422, "invalid_parameter", "data.path"),
        ({}, 422, "invalid_parameter", "data"),
    ],
)
def test_refusals(server: Server, asked: dict[str, Any], status: int, code: str, param: str) -> None:
    answer = server.post("/v1/evaluations", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["param"] == param


def test_a_waiting_one_is_listed_and_cancelled(server: Server) -> None:
    """Two at once: the second waits for the first, whatever that does."""
    asked = {"data": "photos", "protocol": "no-such-protocol"}
    headers = {"idempotency-key": "twice"}
    first = server.post("/v1/evaluations", json=asked)
    assert first.headers["location"] == f"/v1/evaluations/{first.json()['id']}"
    second = server.post("/v1/evaluations", json=asked, headers=headers)
    assert second.json()["id"] == server.post("/v1/evaluations", json=asked, headers=headers).json()["id"]
    shown = second.json()
    assert shown["id"].startswith("eval_")
    assert (shown["object"], shown["kind"], shown["metrics"], shown["report"]) == (
        "evaluation",
        "evaluation",
        {},
        None,
    )
    assert shown["request"]["model"] == "tiny"  # the default, named
    assert server.post(f"/v1/evaluations/{shown['id']}/cancel").json()["status"] in (
        "cancelled",
        "in_progress",
    )
    assert wait(server, shown["id"])["status"] == "cancelled"
    failed = wait(server, first.json()["id"])
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "evaluation_refused"
    assert "no-such-protocol" in failed["error"]["message"]
    assert failed["error"]["message"] in server.get(shown["log"].replace(shown["id"], failed["id"])).text
    missing = server.get(f"/v1/evaluations/{failed['id']}/report")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_report")
    wrong = server.get(f"/v1/evaluations/{failed['id']}/report", params={"protocol": "dc-ae"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "protocol")
    listed = server.get("/v1/evaluations").json()["data"]
    assert {job["id"] for job in listed} >= {shown["id"], failed["id"]}
    assert all(job["object"] == "evaluation" and job["log"] for job in listed)


def test_other_jobs_are_no_evaluations(server: Server) -> None:
    job = server.post(
        "/v1/generate", json={"label": 0, "num_steps": 1}, headers={"prefer": "respond-async"}
    ).json()
    answer = server.get(f"/v1/evaluations/{job['id']}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")
    assert job["id"] in answer.json()["error"]["message"]
