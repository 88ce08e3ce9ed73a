"""Jobs and evaluations for callers with an event loop; see ``jobs.py``, whose methods these are."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from service.client.jobs import (
    Bar,
    cancel,
    delete,
    evaluation,
    file,
    list_page,
    looks,
    one,
    refuse_late,
    submitted,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.client.asynchronous import AsyncClient
    from service.client.calls import Call
    from service.client.jobs import Format, Job, Status


class AsyncJobs:
    """Jobs of a server.

    Args:
        client: carries the calls.
    """

    base = "/v1/jobs"

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(self, call: Call[Any], *, idempotency_key: str | None = None) -> Job:
        """Have a call of ``service.client.calls`` done as a job."""
        return await self._client.run(submitted(call, idempotency_key))

    async def list(self, *, status: Status | None = None) -> AsyncIterator[Job]:
        """Newest first, page by page."""
        after = None
        while True:
            page = await self._client.run(list_page(self.base, status, after))
            for job in page.jobs:
                yield job
            if (after := page.after) is None:
                return

    async def get(self, job_id: str) -> Job:
        """A job."""
        return await self._client.run(one(self.base, job_id))

    async def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        progress: bool = False,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job when it has completed; see ``Jobs.wait``.

        Raises:
            JobFailed: it failed or was cancelled.
            DeadlinePassed: it goes on, and can be waited for again.
        """
        started = time.monotonic()
        job = await self.get(job_id)
        bar = Bar(job, progress)
        try:
            for delay in looks():
                bar.show(job)
                if on_change is not None:
                    on_change(job)
                if job.finished:
                    return job.require_completed()
                refuse_late(job, started, timeout_s)
                await asyncio.sleep(delay)
                job = await self.get(job_id)
        finally:
            bar.close()
        raise AssertionError("looks never ends")

    async def cancel(self, job_id: str) -> Job:
        """Ask for its end; it ends within one step or batch."""
        return await self._client.run(cancel(self.base, job_id))

    async def delete(self, job_id: str) -> None:
        """Forget a job and its files."""
        await self._client.run(delete(self.base, job_id))

    async def result(self, job_id: str) -> bytes:
        """The file that it made."""
        return await self._client.run(file(self.base, job_id, "result"))


class AsyncEvaluations(AsyncJobs):
    """Evaluations of a server."""

    base = "/v1/evaluations"

    async def create(self, *, idempotency_key: str | None = None, **asked: object) -> Job:
        """Start one: the fields of ``POST /v1/evaluations``, such as data, job, model, protocol, metrics."""
        return await self._client.run(evaluation(asked, idempotency_key))

    async def log(self, job_id: str) -> str:
        """What it wrote so far."""
        return (await self._client.run(file(self.base, job_id, "log"))).decode("utf-8", "replace")

    async def report(
        self, job_id: str, file_format: Format = "html", *, protocol: str | None = None
    ) -> bytes:
        """Its report as a file."""
        params = {"format": file_format, "protocol": protocol}
        return await self._client.run(file(self.base, job_id, "report", params))
