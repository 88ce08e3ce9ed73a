"""When a call is tried again, and after how long. Knows neither HTTP library nor sockets: it is asked, and answers.

Tried again: no connection, 429 and 503, which say that the work was not done; and where doing it twice does no harm
(GET, DELETE, or an idempotency key) also a broken connection, 502 and 504. Never earlier than the server says.

Source: RFC 9110, section 9.2.2 (idempotent methods) and 10.2.3 (Retry-After); Brooker 2015, Exponential Backoff And
Jitter, AWS Architecture Blog (waits without a header).
"""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_DONE = frozenset({429, 503})
MAYBE_DONE = frozenset({502, 504})
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
# How much longer than told the wait may be, so that those who were refused together do not return together.
JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Retry:
    """How patient a client is.

    Attributes:
        retries: tries after the first; 0 for none.
        deadline_s: from the first try to the last answer, waits included; None waits for ever.
        first_delay_s: before the first retry where the server does not say; it doubles.
        max_delay_s: longest wait where the server does not say.
    """

    retries: int = 6
    deadline_s: float | None = 600.0
    first_delay_s: float = 0.25
    max_delay_s: float = 20.0


class Tries:
    """The tries of one call.

    Args:
        policy: how patient.
        repeatable: whether doing the work twice does no harm.
        clock, uniform: of the machine; given by tests.
    """

    def __init__(
        self,
        policy: Retry,
        *,
        repeatable: bool,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._repeatable = repeatable
        self._clock = clock
        self._uniform = uniform
        self._started = clock()
        self._retried = 0

    @property
    def retried(self) -> int:
        """Tries after the first so far."""
        return self._retried

    @property
    def remaining_s(self) -> float | None:
        """Until the deadline; None where there is none, 0 when it has passed."""
        if self._policy.deadline_s is None:
            return None
        return max(0.0, self._started + self._policy.deadline_s - self._clock())

    def after_broken(self, *, sent: bool) -> float | None:
        """Seconds to wait after a connection that failed; None if it is over.

        Args:
            sent: whether the server may have seen the request.
        """
        return self._wait(None) if self._repeatable or not sent else None

    def after_answer(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Seconds to wait after an answer that is not a success; None if it stands."""
        if status in NOT_DONE or (status in MAYBE_DONE and self._repeatable):
            return self._wait(told_delay_s(headers))
        return None

    def _wait(self, told_s: float | None) -> float | None:
        if self._retried >= self._policy.retries:
            return None
        if told_s is not None:
            delay = told_s * (1 + JITTER * self._uniform())
        else:
            longest = min(self._policy.max_delay_s, self._policy.first_delay_s * 2**self._retried)
            delay = longest * (0.5 + 0.5 * self._uniform())
        remaining = self.remaining_s
        if remaining is not None and delay >= remaining:
            return None
        self._retried += 1
        return delay


def told_delay_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """What ``retry-after-ms`` or ``Retry-After`` (seconds, or a date) ask for; None without or unreadable.

    Args:
        headers: names in lower case.
        now: seconds since 1970.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
