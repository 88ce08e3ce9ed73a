"""evaluate and jobs, against answers as the server's shapes have them."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.cli import __main__ as cli
from service.client import Client, Retry
from tests.service.client.test_jobs import evaluation_facts, facts

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[str]]:
    """Let the commands talk to a function; what they ask is listed."""

    def make(answer: Answer) -> list[str]:
        asked: list[str] = []

        def noted(request: httpx.Request) -> httpx.Response:
            asked.append(f"{request.method} {request.url.raw_path.decode()}")
            return answer(request)

        def client(*_: object, **__: object) -> Client:
            return Client("http://here", retry=Retry(retries=0), transport=httpx.MockTransport(noted))

        monkeypatch.setattr(cli, "Client", client)
        monkeypatch.setattr("service.client.jobs.time.sleep", lambda _: None)
        return asked

    return make


def test_evaluate_waits_tells_the_numbers_and_saves_reports(
    serve: Callable[[Answer], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter(["queued", "in_progress", "completed"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            assert json.loads(request.content) == {
                "data": "flowers",
                "job": "reconstruct",
                "metrics": ["psnr"],
            }
            return httpx.Response(202, json=evaluation_facts(status="queued"))
        if "report" in request.url.path:
            return httpx.Response(200, content=b"report as " + request.url.params["format"].encode())
        metrics = {"psnr": 31.5, "rfid": None}
        return httpx.Response(200, json=evaluation_facts(status=next(states), metrics=metrics))

    serve(answer)
    out = [str(tmp_path / "a.html"), str(tmp_path / "a.json")]
    assert cli.main(["evaluate", "flowers", "--metrics", "psnr", "-o", out[0], "-o", out[1]]) == 0
    captured = capsys.readouterr()
    assert captured.out == "psnr: 31.5\nrfid: not computed\n"
    assert "jobs wait job_1" in captured.err
    assert [Path(path).read_bytes() for path in out] == [b"report as html", b"report as json"]


def test_an_evaluation_that_fails_says_why(
    serve: Callable[[Answer], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"code": "x", "message": "picture 7 cannot be read"}
    serve(lambda _: httpx.Response(200, json=evaluation_facts(status="failed", error=error)))
    assert cli.main(["evaluate", "flowers"]) == 1
    assert "picture 7 cannot be read" in capsys.readouterr().err


def test_jobs_are_listed_shown_cancelled_and_fetched(
    serve: Callable[[Answer], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs":
            data = [facts("b", status="queued", queue_position=3), facts("a")]
            return httpx.Response(200, json={"data": data, "last_id": "a", "has_more": False})
        if request.url.path.endswith(("/log", "/result", "/report")):
            return httpx.Response(200, content=b"file")
        return httpx.Response(200, json=facts("a"))

    asked = serve(answer)
    assert cli.main(["jobs", "list"]) == 0
    told = capsys.readouterr().out
    assert "3. in line" in told
    assert "40 %" in told
    for action in ("show", "cancel", "delete", "log"):
        assert cli.main(["jobs", action, "a"]) == 0
    assert cli.main(["jobs", "result", "a", "-o", str(tmp_path / "r")]) == 0
    assert cli.main(["jobs", "report", "a", "-o", str(tmp_path / "r.csv")]) == 0
    assert (tmp_path / "r").read_bytes() == (tmp_path / "r.csv").read_bytes() == b"file"
    assert asked == [
        "GET /v1/jobs?limit=100",
        "GET /v1/jobs/a",
        "POST /v1/jobs/a/cancel",
        "DELETE /v1/jobs/a",
        "GET /v1/evaluations/a/log",
        "GET /v1/jobs/a/result",
        "GET /v1/evaluations/a/report?format=csv",
    ]


def test_no_wait_and_json(serve: Callable[[Answer], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    asked = serve(lambda _: httpx.Response(202, json=evaluation_facts(status="queued")))
    assert cli.main(["evaluate", "flowers", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "job_1"
    assert asked == ["POST /v1/evaluations"]


def test_a_missing_id_or_a_report_of_no_kind(
    serve: Callable[[Answer], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(lambda _: httpx.Response(500))
    assert cli.main(["jobs", "show"]) == 2
    assert "jobs list" in capsys.readouterr().err
    assert cli.main(["jobs", "report", "a", "-o", "a.docx"]) == 2
    assert ".html" in capsys.readouterr().err
