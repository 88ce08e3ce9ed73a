"""Jobs and evaluations, against answers as the server's shapes have them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from service.client import Client, Retry, calls
from service.client.calls import Generate
from service.client.errors import BadAnswer, DeadlinePassed, JobFailed
from service.client.jobs import FIRST_LOOK_S, LONGEST_LOOK_S, Job, looks
from service.jobs.shapes import EvaluationAnswer, JobAnswer

Answer = Callable[[httpx.Request], httpx.Response]


def facts(job_id: str = "job_1", **changes: Any) -> dict[str, Any]:
    """A job as the server itself would write it."""
    values: dict[str, Any] = {
        **{"id": job_id, "object": "job", "kind": "generate", "status": "in_progress", "progress": 40},
        **{
            "created_at": 1,
            "started_at": 2,
            "completed_at": None,
            "expires_at": None,
            "queue_position": None,
        },
        **{"eta_s": 3.5, "phase": "sampling", "done": 4, "total": 10, "images_per_s": None, "attempts": 1},
        **{"cancelling": False, "error": None, "request": {}, "result": None, "media_type": None},
    }
    return JobAnswer.model_validate(values | changes).model_dump(mode="json")


def evaluation_facts(**changes: Any) -> dict[str, Any]:
    own = {
        "object": "evaluation",
        "kind": "evaluation",
        "metrics": {"psnr": 30.0},
        "report": None,
        "log": "/log",
    }
    return EvaluationAnswer.model_validate(facts() | own | changes).model_dump(mode="json")


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Client]]:
    """A client whose server is a function."""
    opened: list[Client] = []

    def make(answer: Answer) -> Client:
        client = Client("http://here", retry=Retry(retries=0), transport=httpx.MockTransport(answer))
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.jobs.time.sleep", lambda _: None)


def test_a_job_is_read_and_anything_else_refused() -> None:
    job = Job.of(facts(status="failed", error={"code": "x", "message": "the disk is full"}))
    assert (job.id, job.progress, job.eta_s, job.message) == ("job_1", 40, 3.5, "the disk is full")
    assert job.finished
    assert Job.of(evaluation_facts()).metrics == {"psnr": 30.0}
    for nonsense in ([], {}, None, {"id": "a"}):
        with pytest.raises(BadAnswer):
            Job.of(nonsense)


def test_a_call_becomes_a_job_with_a_key_that_makes_it_repeatable(serve: Callable[[Answer], Client]) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202, json=facts())

    client = serve(answer)
    assert client.jobs.submit(calls.generate(Generate(label=0))).id == "job_1"
    client.jobs.submit(calls.generate(Generate(label=0)), idempotency_key="mine")
    assert [request.headers["prefer"] for request in seen] == ["respond-async"] * 2
    assert len(seen[0].headers["idempotency-key"]) == 32
    assert seen[1].headers["idempotency-key"] == "mine"
    assert seen[0].url.path == "/v1/generate"


def test_an_evaluation_says_what_is_given(serve: Callable[[Answer], Client]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/evaluations"
        assert json.loads(request.content) == {"data": "flowers", "metrics": ["psnr"]}
        return httpx.Response(202, json=evaluation_facts())

    job = serve(answer).evaluations.create(data="flowers", metrics=["psnr"], model=None)
    assert job.metrics == {"psnr": 30.0}


def test_lists_go_on_page_by_page(serve: Callable[[Answer], Client]) -> None:
    pages = {None: (["c", "b"], True), "b": (["a"], False)}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["status"] == "failed"
        ids, more = pages[request.url.params.get("after")]
        data = [facts(job_id) for job_id in ids]
        return httpx.Response(200, json={"data": data, "last_id": ids[-1], "has_more": more})

    assert [job.id for job in serve(answer).jobs.list(status="failed")] == ["c", "b", "a"]


def test_waiting_shows_every_look_and_ends_with_the_job(
    serve: Callable[[Answer], Client], capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter(
        [
            facts(status="queued", queue_position=2, progress=0),
            facts(),
            facts(status="completed", progress=100, result="/v1/jobs/job_1/result"),
        ]
    )
    seen: list[str] = []
    client = serve(lambda _: httpx.Response(200, json=next(states)))
    job = client.jobs.wait("job_1", progress=True, on_change=lambda job: seen.append(job.status))
    assert job.status == "completed"
    assert seen == ["queued", "in_progress", "completed"]
    assert "generate" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_waiting_for_a_job_that_fails_raises_why(serve: Callable[[Answer], Client], status: str) -> None:
    error = {"code": "x", "message": "the disk is full"} if status == "failed" else None
    client = serve(lambda _: httpx.Response(200, json=facts(status=status, error=error)))
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait("job_1")
    assert (caught.value.job_id, caught.value.status) == ("job_1", status)
    assert ("the disk is full" in str(caught.value)) == (status == "failed")


def test_waiting_ends_with_the_time_given(serve: Callable[[Answer], Client]) -> None:
    client = serve(lambda _: httpx.Response(200, json=facts()))
    with pytest.raises(DeadlinePassed, match="it goes on"):
        client.jobs.wait("job_1", timeout_s=0.0)


def test_files_cancelling_and_deleting(serve: Callable[[Answer], Client]) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        shown = request.url.path.endswith("cancel")
        return (
            httpx.Response(200, json=facts(cancelling=True))
            if shown
            else httpx.Response(200, content=b"file")
        )

    client = serve(answer)
    assert client.jobs.cancel("a").facts["cancelling"] is True
    assert client.jobs.result("a") == b"file"
    assert client.evaluations.log("a") == "file"
    assert client.evaluations.report("a", "csv", protocol="rae") == b"file"
    client.evaluations.delete("a")
    assert asked == [
        "POST /v1/jobs/a/cancel",
        "GET /v1/jobs/a/result",
        "GET /v1/evaluations/a/log",
        "GET /v1/evaluations/a/report?format=csv&protocol=rae",
        "DELETE /v1/evaluations/a",
    ]


def test_looks_come_soon_at_first_and_never_rarely() -> None:
    delays = looks()
    found = [next(delays) for _ in range(20)]
    assert found[0] == FIRST_LOOK_S
    assert found == sorted(found)
    assert found[-1] == LONGEST_LOOK_S
