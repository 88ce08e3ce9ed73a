"""Jobs over HTTP: shown, listed, followed, cancelled, deleted; and seen by their owner alone."""

import json
import time
from typing import Any

import httpx

from tests.service.conftest import Server, StartServer, as_file, picture
from tests.service.jobs.kinds.conftest import wait

LONG = {"label": 0, "num_images": 8, "num_steps": 250, "output": "latent"}
ASYNC = {"prefer": "respond-async"}


def start(server: Server, **asked: Any) -> dict[str, Any]:
    answer = server.post("/v1/generate", json={"label": 0, "num_steps": 2, "seed": 3} | asked, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_job_has_the_fields_of_a_video(server: Server) -> None:
    began = int(time.time())
    job = start(server)
    assert job["id"].startswith("job_")
    assert (job["object"], job["kind"], job["status"] in ("queued", "in_progress")) == (
        "job",
        "generate",
        True,
    )
    assert began - 1 <= job["created_at"] <= time.time() + 1
    assert job["request"]["path"] == "/v1/generate"
    done = wait(server, job["id"])
    assert done["completed_at"] >= done["started_at"] >= done["created_at"]
    assert done["expires_at"] == done["completed_at"] + 7 * 86_400
    answer = server.get(f"/v1/jobs/{job['id']}")
    assert answer.headers["openai-poll-after-ms"] == "1000"
    assert set(job) == set(done)


def test_lists_are_pages(server: Server) -> None:
    jobs = [start(server, seed=seed)["id"] for seed in range(3)]
    for job in jobs:
        wait(server, job)
    first = server.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == jobs[:0:-1]
    assert (first["object"], first["has_more"], first["last_id"]) == ("list", True, jobs[1])
    rest = server.get("/v1/jobs", params={"after": first["last_id"], "limit": 1}).json()
    assert rest["data"][0]["id"] == rest["first_id"] == jobs[0]
    assert server.get("/v1/jobs", params={"kind": "evaluation", "status": "queued"}).json()["data"] == []
    assert all(job["status"] == "completed" for job in server.get("/v1/jobs?status=completed").json()["data"])
    assert server.get("/v1/jobs", params={"limit": 0}).status_code == 422
    assert server.get("/v1/jobs", params={"offset": 1}).status_code == 422
    assert server.get("/v1/jobs", params={"after": "job_none"}).json()["error"]["code"] == "unknown_job"


def test_unknown_and_unfinished(server: Server) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "/result"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ):
        answer = server.client.request(method, f"/v1/jobs/job_0{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")
    job = start(server, **LONG)
    result = server.get(f"/v1/jobs/{job['id']}/result")
    assert (result.status_code, result.json()["error"]["code"]) == (409, "no_result")
    deleted = server.client.delete(f"/v1/jobs/{job['id']}")
    assert (deleted.status_code, deleted.json()["error"]["code"]) == (409, "job_not_finished")
    cancelled = server.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert cancelled["status"] == "cancelled" or cancelled["cancelling"]
    ended = wait(server, job["id"])
    assert (ended["status"], ended["result"], ended["error"]) == ("cancelled", None, None)
    assert server.post(f"/v1/jobs/{job['id']}/cancel").json()["status"] == "cancelled"  # stays as it is
    assert "cancelled" in server.get(f"/v1/jobs/{job['id']}/result").json()["error"]["message"]
    gone = server.client.delete(f"/v1/jobs/{job['id']}")
    assert gone.json() == {"id": job["id"], "object": "job.deleted", "deleted": True}
    assert server.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_a_result_can_be_read_in_parts(server: Server) -> None:
    started = server.post("/v1/reconstruct", content=as_file(picture(32, 32)), headers=ASYNC)
    job = wait(server, started.json()["id"])
    whole = server.get(job["result"])
    part = server.get(job["result"], headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, whole.content[4:8])
    beyond = server.get(job["result"], headers={"range": f"bytes={len(whole.content)}-"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "bad_range")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"


def test_events_tell_all_until_the_end(server: Server) -> None:
    job = start(server, num_steps=100, num_images=4)
    with server.client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line and not line.startswith(":")]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    shown = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert [one["status"] for one in shown] == names
    assert names[-1] == "completed"
    assert set(names[:-1]) <= {"queued", "in_progress"}
    done = [one["done"] for one in shown]
    assert done == sorted(done)
    assert done[-1] == 100
    assert shown[-1] == server.get(f"/v1/jobs/{job['id']}").json()


def test_events_of_a_job_that_has_ended(server: Server) -> None:
    job = wait(server, start(server)["id"])
    body = server.get(f"/v1/jobs/{job['id']}/events").text
    assert body.startswith("event: completed\n")
    assert body.count("event:") == 1


def test_a_server_without_a_folder_says_what_to_set(start_server: StartServer) -> None:
    bare = start_server(wait=False, api_keys="one,two")
    headers = {"authorization": "Bearer one"}
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = bare.get("/v1/jobs", headers=headers)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "jobs_off")
    assert "TESSERA_STATE" in answer.json()["error"]["message"]
    assert bare.get("/v1/evaluations/data", headers=headers).json()["error"]["code"] == "jobs_off"
    assert bare.get("/v1/jobs").status_code == 401
