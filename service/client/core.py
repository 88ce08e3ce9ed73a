"""What the two clients share: where the server is, how long a try may take, and what follows from how it ended."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from service.client.answers import Reply
from service.client.errors import DeadlinePassed, Unreachable, from_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.client.calls import Call
    from service.client.retries import Tries

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, KEY_VARIABLE = "TESSERA_URL", "TESSERA_API_KEY"
CONNECT_TIMEOUT_S = 10.0
# Below the 5 s after which the server closes an idle connection: a request never meets a connection that just went.
LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=2.0)
# Failures before a byte of the request was sent.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
TIMEOUTS = (httpx.ReadTimeout, httpx.WriteTimeout)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where the server is, and what it asks of callers.

    Attributes:
        url: without a slash at the end.
        api_key: sent as a bearer token; None for an open server.
    """

    url: str
    api_key: str | None = None

    @classmethod
    def of(cls, url: str | None, api_key: str | None) -> Address:
        """What is given, else TESSERA_URL and TESSERA_API_KEY, else this machine's port 8000 without a key.

        Raises:
            ValueError: no http address.
        """
        text = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
        if not text.startswith(("http://", "https://")):
            raise ValueError(f"{text!r} is no address of a server: write http://host:port ({URL_VARIABLE})")
        return cls(text, api_key or os.environ.get(KEY_VARIABLE) or None)

    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any], tries: Tries) -> httpx.Request:
        """One try of a call."""
        return http.build_request(
            call.method,
            f"{self.url}{call.path}",
            params=call.query,
            headers={**self.headers(), **call.headers},
            content=call.content,
            timeout=timeout(tries.remaining_s),
        )


def timeout(remaining_s: float | None) -> httpx.Timeout:
    """Of one try: any silence as long as what is left."""
    if remaining_s is None:
        return httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
    left = max(0.001, remaining_s)
    return httpx.Timeout(left, connect=min(CONNECT_TIMEOUT_S, left))


def reply_of(response: httpx.Response) -> Reply:
    """A response that was read whole."""
    return Reply(response.status_code, lower(response.headers), response.content)


def lower(headers: httpx.Headers) -> Mapping[str, str]:
    """Names in lower case, as HTTP/2 has them."""
    return {name.lower(): value for name, value in headers.items()}


def delay_after_broken(error: httpx.TransportError, tries: Tries, url: str) -> float:
    """Seconds until the next try.

    Raises:
        Unreachable, DeadlinePassed: there is none.
    """
    delay = None
    if not isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        delay = tries.after_broken(sent=not isinstance(error, NOT_SENT))
    if delay is not None:
        return delay
    after = f" after {tries.retried + 1} tries" if tries.retried else ""
    if isinstance(error, TIMEOUTS):
        raise DeadlinePassed(
            f"{url} did not answer in time{after}: allow more with Retry(deadline_s=...), or ask for less"
        ) from error
    reason = str(error) or type(error).__name__
    raise Unreachable(
        f"{url} cannot be reached{after} ({reason}): start it with `python -m service`, or name another address with "
        f"{URL_VARIABLE}"
    ) from error


def delay_after_refusal(reply: Reply, tries: Tries) -> float:
    """Seconds until the next try.

    Raises:
        ServiceError, OtherRefusal, BadAnswer: the answer stands.
    """
    delay = tries.after_answer(reply.status, reply.headers)
    if delay is not None:
        return delay
    error = from_answer(reply.status, reply.body)
    if tries.retried:
        error.add_note(f"the last of {tries.retried + 1} tries")
    raise error
