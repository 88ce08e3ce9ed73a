"""Jobs and evaluations: work that outlives its request. Asked for, listed, waited for, cancelled, and its files."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from service.client.calls import Call, in_path
from service.client.errors import BadAnswer, DeadlinePassed, JobFailed

if TYPE_CHECKING:
    from service.client.answers import Reply
    from service.client.blocking import Client

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
Format = Literal["html", "json", "csv", "png", "npz"]
FINISHED = frozenset({"completed", "failed", "cancelled"})
FIRST_LOOK_S, LONGEST_LOOK_S = 0.25, 5.0
PAGE = 100


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the server shows it.

    Attributes:
        id: names it.
        kind: encode, decode, reconstruct, generate, evaluation.
        status: queued, in_progress, completed, failed or cancelled.
        progress: percent.
        done, total: what is counted, pictures or steps; total is 0 while unknown.
        phase: what is being done.
        queue_position: 1 is next; None once it has started.
        eta_s: seconds to its end; None while unknown.
        message: why it has failed.
        facts: all that the server tells.
    """

    id: str
    kind: str
    status: Status
    progress: int
    done: int
    total: int
    phase: str
    queue_position: int | None
    eta_s: float | None
    message: str | None
    facts: Mapping[str, Any]  # JSON, passed on

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in FINISHED

    @property
    def metrics(self) -> dict[str, float | str | None]:
        """Of an evaluation that has ended; infinities are text."""
        return dict(self.facts.get("metrics") or {})

    def require_completed(self) -> Job:
        """Itself.

        Raises:
            JobFailed: it failed or was cancelled.
        """
        if self.status in ("failed", "cancelled"):
            raise JobFailed(self.id, self.status, self.message or f"job {self.id} was {self.status}")
        return self

    @classmethod
    def of(cls, facts: Any) -> Job:  # JSON
        """From the server's JSON.

        Raises:
            BadAnswer: it is no job.
        """
        try:
            return cls(
                **{
                    name: facts[name]
                    for name in ("id", "kind", "status", "progress", "done", "total", "phase")
                },
                queue_position=facts["queue_position"],
                eta_s=facts["eta_s"],
                message=(facts["error"] or {}).get("message"),
                facts=facts,
            )
        except (KeyError, TypeError, AttributeError):
            raise BadAnswer("JSON that is no job: is this server of the same version?") from None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and the id to go on after; None at the end."""

    jobs: tuple[Job, ...]
    after: str | None


def read_job(reply: Reply) -> Job:
    """A job."""
    return Job.of(reply.json())


def list_page(base: str, status: Status | None, after: str | None) -> Call[Page]:
    """Newest first."""

    def read(reply: Reply) -> Page:
        facts = reply.json()
        try:
            jobs = tuple(Job.of(item) for item in facts["data"])
            return Page(jobs, facts["last_id"] if facts["has_more"] else None)
        except (KeyError, TypeError):
            raise BadAnswer("JSON that lists no jobs: is this server of the same version?") from None

    return Call("GET", base, read, {"limit": str(PAGE), "status": status, "after": after})


def submitted(call: Call[Any], idempotency_key: str | None = None) -> Call[Job]:
    """Any long call as a job: answered at once, done later. Sending it twice starts it once."""
    headers = {
        **call.headers,
        "prefer": "respond-async",
        "idempotency-key": idempotency_key or uuid.uuid4().hex,
    }
    return replace(call, parse=read_job, headers=headers)


def evaluation(asked: Mapping[str, object], idempotency_key: str | None = None) -> Call[Job]:
    """``POST /v1/evaluations``; ``asked`` are the fields of its body."""
    headers = {"content-type": "application/json", "idempotency-key": idempotency_key or uuid.uuid4().hex}
    given = {name: value for name, value in asked.items() if value is not None}
    return Call("POST", "/v1/evaluations", read_job, {}, headers, json.dumps(given).encode())


def one(base: str, job_id: str) -> Call[Job]:
    """A job."""
    return Call("GET", f"{base}/{in_path(job_id)}", read_job)


def cancel(base: str, job_id: str) -> Call[Job]:
    """Ask for its end; one that has ended stays as it is."""
    return Call("POST", f"{base}/{in_path(job_id)}/cancel", read_job, harmless=True)


def delete(base: str, job_id: str) -> Call[None]:
    """A job and its files."""
    return Call("DELETE", f"{base}/{in_path(job_id)}", lambda _: None)


def file(base: str, job_id: str, name: str, params: Mapping[str, str | None] | None = None) -> Call[bytes]:
    """A file of a job."""
    return Call("GET", f"{base}/{in_path(job_id)}/{name}", lambda reply: reply.body, params or {})


def looks() -> Iterator[float]:
    """Seconds between two looks at a job: soon at first, then every few seconds."""
    delay = FIRST_LOOK_S
    while True:
        yield delay
        delay = min(LONGEST_LOOK_S, 1.5 * delay)


class Bar:
    """A progress bar of one job, on the terminal."""

    def __init__(self, job: Job, shown: bool) -> None:
        self._bar = tqdm(total=100, desc=job.kind, unit="%", disable=not shown, leave=False)

    def show(self, job: Job) -> None:
        """Draw where it is."""
        if job.queue_position is not None:
            self._bar.set_postfix_str(f"{job.queue_position}. in line")
        else:
            counted = f"{job.done}/{job.total} " if job.total else ""
            self._bar.set_postfix_str(f"{counted}{job.phase}")
        self._bar.update(job.progress - self._bar.n)

    def close(self) -> None:
        """Remove it."""
        self._bar.close()


class Jobs:
    """Jobs of a server, for callers that wait.

    Args:
        client: carries the calls.
    """

    base = "/v1/jobs"

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, call: Call[Any], *, idempotency_key: str | None = None) -> Job:
        """Have a call of ``service.client.calls`` done as a job."""
        return self._client.run(submitted(call, idempotency_key))

    def list(self, *, status: Status | None = None) -> Iterator[Job]:
        """Newest first, page by page."""
        after = None
        while True:
            page = self._client.run(list_page(self.base, status, after))
            yield from page.jobs
            if (after := page.after) is None:
                return

    def get(self, job_id: str) -> Job:
        """A job."""
        return self._client.run(one(self.base, job_id))

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        progress: bool = False,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job when it has completed.

        Args:
            job_id: of the job.
            timeout_s: how long to wait; None waits for ever.
            progress: whether a bar is drawn on the terminal.
            on_change: called with every look at it.

        Raises:
            JobFailed: it failed or was cancelled.
            DeadlinePassed: it goes on, and can be waited for again.
        """
        started = time.monotonic()
        job = self.get(job_id)
        bar = Bar(job, progress)
        try:
            for delay in looks():
                bar.show(job)
                if on_change is not None:
                    on_change(job)
                if job.finished:
                    return job.require_completed()
                refuse_late(job, started, timeout_s)
                time.sleep(delay)
                job = self.get(job_id)
        finally:
            bar.close()
        raise AssertionError("looks never ends")

    def cancel(self, job_id: str) -> Job:
        """Ask for its end; it ends within one step or batch."""
        return self._client.run(cancel(self.base, job_id))

    def delete(self, job_id: str) -> None:
        """Forget a job and its files."""
        self._client.run(delete(self.base, job_id))

    def result(self, job_id: str) -> bytes:
        """The file that it made."""
        return self._client.run(file(self.base, job_id, "result"))


class Evaluations(Jobs):
    """Evaluations of a server, for callers that wait."""

    base = "/v1/evaluations"

    def create(self, *, idempotency_key: str | None = None, **asked: object) -> Job:
        """Start one: the fields of ``POST /v1/evaluations``, such as data, job, model, protocol, metrics."""
        return self._client.run(evaluation(asked, idempotency_key))

    def log(self, job_id: str) -> str:
        """What it wrote so far."""
        return self._client.run(file(self.base, job_id, "log")).decode("utf-8", "replace")

    def report(self, job_id: str, file_format: Format = "html", *, protocol: str | None = None) -> bytes:
        """Its report as a file."""
        return self._client.run(
            file(self.base, job_id, "report", {"format": file_format, "protocol": protocol})
        )


def refuse_late(job: Job, started: float, timeout_s: float | None) -> None:
    """Raise DeadlinePassed when a job took too long."""
    if timeout_s is not None and time.monotonic() - started > timeout_s:
        raise DeadlinePassed(f"job {job.id} is {job.status} after {timeout_s:g} s: wait again, it goes on")
