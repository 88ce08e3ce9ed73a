"""News of a request while it runs, as the server streams them, and the result at the end."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.client.answers import Reply
from service.client.errors import BadAnswer, Unreachable, from_answer
from service.client.events import EventReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.client.events import Event

MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Step:
    """How far a request is.

    Attributes:
        step: done, of ``num_steps``.
        preview: a small JPEG of the first picture as it would be by now; None where only the step is told.
    """

    step: int
    num_steps: int
    preview: bytes | None = None


class ProgressReader:
    """Lines of a stream in; ``on_step`` is called, and the result kept."""

    def __init__(self, on_step: Callable[[Step], None]) -> None:
        self._on_step = on_step
        self._events = EventReader()
        self._result: bytes | None = None

    def feed(self, line: str) -> None:
        """Take a line without its end.

        Raises:
            ServiceError, OtherRefusal: the request failed while it ran.
            BadAnswer: an event that cannot be read.
        """
        event = self._events.feed(line)
        if event is None:
            return
        if event.name == "result":
            self._result = event.data.encode()
        elif event.name == "error":
            raise from_answer(200, event.data.encode())
        elif event.name in ("progress", "preview"):
            self._on_step(_step(event))

    def reply(self, headers: Mapping[str, str]) -> Reply:
        """The result as an answer that was not streamed.

        Raises:
            Unreachable: the stream ended before it.
        """
        if self._result is None:
            raise Unreachable("the stream ended before the result: ask again")
        return Reply(200, {**headers, "content-type": "application/json"}, self._result)


def _step(event: Event) -> Step:
    try:
        facts = json.loads(event.data)
        preview = base64.b64decode(facts["b64"]) if "b64" in facts else None
        return Step(int(facts["step"]), int(facts["num_steps"]), preview)
    except (ValueError, KeyError, TypeError):
        raise BadAnswer(f"an event {event.name!r} that cannot be read") from None
