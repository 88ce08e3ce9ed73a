"""The jobs of ``AsyncClient``: the same requests and results as those of ``Client``."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.client import AsyncClient, Retry, calls
from service.client.errors import DeadlinePassed, JobFailed
from tests.service.client.test_jobs import evaluation_facts, facts

Answer = Callable[[httpx.Request], httpx.Response]


def run(answer: Answer, work: Callable[[AsyncClient], Any]) -> Any:
    async def main() -> Any:
        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://here", retry=Retry(retries=0), transport=transport) as client:
            return await work(client)

    return asyncio.run(main())


def test_submit_list_get_cancel_delete_and_files() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/v1/jobs":
            return httpx.Response(200, json={"data": [facts("a")], "last_id": "a", "has_more": False})
        if request.url.path.endswith(("result", "log", "report")):
            return httpx.Response(200, content=b"file")
        made = evaluation_facts() if "evaluations" in request.url.path else facts()
        return httpx.Response(200, json=made)

    async def work(client: AsyncClient) -> None:
        await client.jobs.submit(calls.encode(b"picture"))
        await client.evaluations.create(data="flowers")
        assert [job.id async for job in client.jobs.list()] == ["a"]
        assert (await client.jobs.get("a")).id == "job_1"
        await client.jobs.cancel("a")
        await client.jobs.delete("a")
        assert await client.jobs.result("a") == b"file"
        assert await client.evaluations.log("a") == "file"
        assert await client.evaluations.report("a") == b"file"

    run(answer, work)
    assert asked == [
        *(
            "POST /v1/encode",
            "POST /v1/evaluations",
            "GET /v1/jobs",
            "GET /v1/jobs/a",
            "POST /v1/jobs/a/cancel",
        ),
        *(
            "DELETE /v1/jobs/a",
            "GET /v1/jobs/a/result",
            "GET /v1/evaluations/a/log",
            "GET /v1/evaluations/a/report",
        ),
    ]


def test_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.async_jobs.looks", lambda: iter([0.0] * 10))
    states = iter(
        [facts(), facts(status="completed", progress=100), facts(status="failed"), facts(), facts()]
    )
    seen: list[str] = []

    async def work(client: AsyncClient) -> None:
        job = await client.jobs.wait("job_1", on_change=lambda job: seen.append(job.status))
        assert job.status == "completed"
        with pytest.raises(JobFailed):
            await client.jobs.wait("job_1")
        with pytest.raises(DeadlinePassed):
            await client.jobs.wait("job_1", timeout_s=0.0)

    run(lambda _: httpx.Response(200, json=next(states)), work)
    assert seen == ["in_progress", "completed"]
