"""What a call raises. What the server said keeps the server's own class, code and sentence.

``service.errors.ServiceError`` and its tree: the server answered, and refused or failed (``QueueFull``, ...).
ClientError: there is no such answer
├── Unreachable: no connection, or it broke
├── DeadlinePassed: the time that the caller gave is over
├── BadAnswer: an answer that this server does not give; something stands in between, or it is another server
├── OtherRefusal: refused with a code that this client does not know, by a newer server
└── JobFailed: a job that was waited for has failed or was cancelled

``except FAILURES`` catches both trees.
"""
# ruff: noqa: N818  as in service/errors.py: every name here says what is wrong

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import service.jobs.errors
import service.video_errors  # noqa: F401  so that the codes of jobs and of videos are known too
from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator


class ClientError(Exception):
    """No usable answer came."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(ClientError):
    """The server cannot be reached, or the connection broke before its answer was here."""


class DeadlinePassed(ClientError):
    """The answer was not here in the time that the caller gave."""


class BadAnswer(ClientError):
    """Bytes that this server does not answer with."""


class OtherRefusal(ClientError):
    """The server refused with a code that this client does not know.

    Attributes:
        status: of the answer.
        code: what the server calls it.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class JobFailed(ClientError):
    """A job ended without a result.

    Attributes:
        job_id: of the job.
        status: ``failed`` or ``cancelled``.
    """

    def __init__(self, job_id: str, status: str, message: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.status = status


FAILURES: tuple[type[Exception], ...] = (ServiceError, ClientError)


def from_answer(status: int, body: bytes) -> ServiceError | ClientError:
    """The exception for an answer that is not a success."""
    try:
        facts = json.loads(body)["error"]
        code, message = facts["code"], facts["message"]
    except (ValueError, KeyError, TypeError):
        shown = " ".join(body[:200].decode("utf-8", "replace").split())
        return BadAnswer(
            f"status {status} with a body that is none of this server's ({shown!r}): check the address, and what "
            "stands between here and there"
        )
    return _known(str(code), str(message), facts) or OtherRefusal(status, str(code), str(message))


def _known(code: str, message: str, facts: dict[str, Any]) -> ServiceError | None:  # JSON
    details = {name: value for name, value in facts.items() if name not in ("code", "message", "param")}
    for kind in _leaves(ServiceError):
        if kind.code == code:
            return kind(message, param=facts.get("param"), details=details)
    return None


def _leaves(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from _leaves(child)
