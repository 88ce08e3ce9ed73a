"""The job form of a request: stored as it came, and sent through the application when its turn comes.

So a job gives what the request would have given, byte for byte and header for header, and fails with the same
sentences. It runs at batch priority unless its own ``x-priority`` says otherwise.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from service.access import record_now
from service.engine.messages import Job
from service.errors import InternalError, WorkerDied
from service.jobs.folders import BODY, RESULT, size_of, write_whole
from service.jobs.kind import Again, Refused
from service.jobs.record import Progress, Result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import HTTPConnection
    from starlette.types import Message, Scope

    from service.engine.messages import Progress as Step
    from service.jobs.kind import Run
    from service.jobs.record import JobRecord, Json, Lane

J = TypeVar("J", bound=Job)

MARK = "tessera.job"
# News of a generation, about so many.
STEPS_TOLD = 25
# Headers that change what a request gives; no other is kept, a key least of all.
KEPT = ("content-type", "accept", "x-priority", "x-batch-bucket")
KEPT_PREFIX = "x-tessera-"
# Headers of the answer that belong to the file.
TOLD = ("x-batch-size", "x-batch-bucket", "server-timing")
RETRY_S, LONGEST_RETRY_S = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Mark:
    """Stands in the scope of a replayed request; nothing outside can put it there.

    Attributes:
        on_step: hears how far a generation is.
    """

    on_step: Callable[[Step], None]

    def adapt(self, job: J, timeout_s: float) -> J:
        """The engine's job as a stored one wants it: with news, with time, and paid for already."""
        record_now.set(None)
        every = max(1, int(getattr(job, "num_steps", 1)) // STEPS_TOLD)
        return replace(job, progress_every=every, timeout_s=timeout_s)


def mark_of(connection: HTTPConnection) -> Mark | None:
    """The mark of a replayed request; None for one that came over the network."""
    mark = connection.scope.get(MARK)
    return mark if isinstance(mark, Mark) else None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The job form of ``POST path``."""

    name: str
    path: str
    shape: Literal["job", "evaluation"] = "job"
    lane: Lane = "requests"

    async def run(self, run: Run) -> Result:
        """Send the request through the application; the result is its answer's body."""
        body = await asyncio.to_thread((run.folder / BODY).read_bytes)

        def on_step(step: Step) -> None:
            run.report(Progress(step.step, step.num_steps, "steps"))

        answer = await replay(run, body, Mark(on_step))
        if answer.status >= 400:
            raise _failure(answer)
        await asyncio.to_thread(write_whole, run.folder / RESULT, answer.body)
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.startswith(KEPT_PREFIX) or name in TOLD
        }
        media_type = answer.headers.get("content-type", "application/octet-stream")
        num_bytes = await asyncio.to_thread(size_of, run.folder)
        return Result(RESULT, media_type, headers, num_bytes)

    async def discard(self, run: Run) -> None:
        """Nothing outlives the server that ran it."""

    def shown(self, record: JobRecord, folder: Path) -> Json:
        """Nothing more."""
        return {}


@dataclass(slots=True)
class Recorded:
    """An answer, as it is sent piece by piece."""

    status: int
    headers: dict[str, str]
    body: bytes


async def replay(run: Run, body: bytes, mark: Mark) -> Recorded:
    """Send a stored request through the application."""
    answer = Recorded(500, {}, b"")
    pieces: list[bytes] = []
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # the caller of a job never hangs up; cancelling ends it
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            pieces.append(message.get("body", b""))

    await run.around.app(scope_of(run.record.request, run.record.id, len(body), mark), receive, send)
    answer.body = b"".join(pieces)
    return answer


def scope_of(request: Json, job_id: str, num_bytes: int, mark: Mark) -> Scope:
    """The ASGI scope of a stored request."""
    headers = {"x-priority": "batch"} | request["headers"]
    headers |= {"content-length": str(num_bytes), "x-request-id": job_id, "host": "localhost"}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": request["path"],
        "raw_path": request["path"].encode(),
        "query_string": request["query"].encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": None,
        "server": None,
        "state": {},
        MARK: mark,
    }


def stored(path: str, query: str, headers: dict[str, str]) -> Json:
    """What is kept of a request beside its body.

    Args:
        path: of the route.
        query: as it came.
        headers: by lower-case name.
    """
    kept = {name: value for name, value in headers.items() if name in KEPT or name.startswith(KEPT_PREFIX)}
    return {"path": path, "query": query, "headers": kept}


def _failure(answer: Recorded) -> Exception:
    """The error that the application told, or the wish to be asked again."""
    try:
        told = json.loads(answer.body)["error"]
        code = str(told["code"])
    except (ValueError, KeyError, TypeError):
        return InternalError(f"the request was answered {answer.status}; the server's log says more")
    if answer.status in (429, 503):
        seconds = told.get("retry_after_s")
        wait = float(seconds) if isinstance(seconds, int | float) else RETRY_S
        return Again(min(wait, LONGEST_RETRY_S), interrupted=code == WorkerDied.code)
    return Refused(told)
