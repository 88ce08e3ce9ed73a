"""Server-sent events, read line by line.

Source: WHATWG HTML Living Standard, section 9.2.6 (interpreting an event stream).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name (``message`` without one) and its data."""

    name: str
    data: str


class EventReader:
    """Lines, without their ends, in; events out."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """Take a line; an empty one ends an event."""
        if not line:
            data, name = self._data, self._name
            self._data, self._name = [], ""
            return Event(name or "message", "\n".join(data)) if data else None
        if line.startswith(":"):  # a comment keeps the connection alive
            return None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None
