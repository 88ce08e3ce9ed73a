"""How the service logs: lines for people or one JSON object a line, each with the id of its request.

What may be secret is never handed to a logger: no headers, no queries, no bodies; keys appear by their names.
"""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import Literal

Format = Literal["text", "json"]

# Of the request that runs, for every line that is logged meanwhile; access.py sets it.
request_id_now: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


class RequestId(logging.Filter):
    """Gives every record the id of the request that runs, or nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.request_id = request_id_now.get()
        return True


class TextLines(logging.Formatter):
    """``INFO: worker: message [request id]``."""

    def __init__(self, process: str) -> None:
        where = f"{process}: " if process else ""
        super().__init__(f"%(levelname)s: {where}%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The line, with the id of its request."""
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", "")
        return f"{line} [{request_id}]" if request_id else line


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, request_id, then the facts of access."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process or "http",
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", "")
        if request_id:
            told["request_id"] = request_id
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            told |= facts
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def configure(level: str, form: Format, process: str = "") -> None:
    """Send everything that is logged in this process to standard error in one form, uvicorn's lines included.

    Args:
        level: ``debug``, ``info``, ``warning``, ``error``.
        form: of the lines.
        process: named in every line; empty for the HTTP process.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else TextLines(process))
    handler.addFilter(RequestId())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # These warn of every damaged form and picture that is sent; the sender is told.
    logging.getLogger("python_multipart").setLevel("ERROR")
    warnings.filterwarnings("ignore", module="PIL")
