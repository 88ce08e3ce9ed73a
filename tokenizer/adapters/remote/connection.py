"""Requests to a server, asked again while it is busy, starting or away; knows nothing of tokenizers.

Asked again: no connection or a broken one, 429 and 503, never earlier than ``retry-after-ms`` or ``Retry-After`` say.
Every request here may be done twice without harm.

Source: RFC 9110, sections 10.2.3 (Retry-After) and 15.6.4 (503).
"""

import email.utils
import http.client
import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

KEY_VARIABLE = "TESSERA_API_KEY"
AGAIN = (429, 503)
BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException, OSError)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status 200, and the seconds from sending to the last byte."""

    body: bytes
    headers: Mapping[str, str]
    seconds: float


class Connection:
    """A server; connections are kept and used again, by any thread.

    Args:
        url: ``http://host:port`` or https, with a path in front of ``/v1`` if there is one.
        key: of the server; without it the environment's TESSERA_API_KEY.
        patience_s: how long one request is asked again before that is an error.
        timeout_s: for one answer.
        sleep, clock: of the machine; given by tests.

    Raises:
        ValueError: the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patience_s: float = 600.0,
        timeout_s: float = 600.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r}: a server is written http://host:port#model")
        if parts.username or parts.password:
            raise ValueError(
                f"a key in an address ends in reports and logs: put it into {KEY_VARIABLE} and give "
                f"{parts.scheme}://{parts.hostname}:{parts.port or ''}"
            )
        self.url = url
        self._secure = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._key = os.environ.get(KEY_VARIABLE) if key is None else key
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._clock = clock
        self._idle: deque[http.client.HTTPConnection] = deque()  # appends and pops are atomic

    def get(self, path: str) -> Reply:
        """GET; see ``post``."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """POST until there is an answer.

        Raises:
            ValueError: the server refuses the request, in its words, or stays away for too long.
        """
        return self._ask("POST", path, body, headers)

    def close(self) -> None:
        """Close the connections that nobody uses; the next request makes one."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        own = {"authorization": f"Bearer {self._key}"} if self._key else {}
        deadline = self._clock() + self._patience_s
        wait = FIRST_WAIT_S
        while True:
            started = self._clock()
            try:
                status, reply, told = self._once(method, path, body, {**own, **headers})
            except BROKEN as error:
                self.close()  # the others that wait are as old
                why, seconds = f"{type(error).__name__}: {error}", None
            else:
                if status == 200:
                    return Reply(reply, told, self._clock() - started)
                why = f"status {status}: {message_of(reply)}"
                if status not in AGAIN:
                    raise ValueError(f"{self.url}{path} answered {why}")
                seconds = seconds_told(told)
            pause = seconds if seconds is not None else wait * (0.5 + random.random())
            wait = min(2 * wait, LONGEST_WAIT_S)
            if self._clock() + pause > deadline:
                raise ValueError(f"{self.url}{path} gave no answer within {self._patience_s:g} s ({why})")
            self._sleep(pause)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        try:
            line = self._idle.pop()
        except IndexError:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            line = kind(self._host, self._port, timeout=self._timeout_s)
        try:
            line.request(method, self._path + path, body, dict(headers))
            answer = line.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            status, reply = answer.status, answer.read()
        except BaseException:
            line.close()
            raise
        self._idle.append(line)  # closed by the server or not: it connects again by itself
        return status, reply, told


def seconds_told(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """What ``retry-after-ms`` or ``Retry-After`` say, as seconds or as a date; None if nothing that can be read."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is None:
        return None
    return max(0.0, email.utils.mktime_tz(date) - (time.time() if now is None else now))


def message_of(body: bytes) -> str:
    """The sentence of an error, in our shape or OpenAI's; else the first bytes as text."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
