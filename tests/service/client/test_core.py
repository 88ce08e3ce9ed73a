"""Where the server is, how long a try may take, what follows from how it ended."""

import httpx
import pytest

from service.client import core
from service.client.answers import Reply
from service.client.calls import Call
from service.client.core import Address, delay_after_broken, delay_after_refusal, timeout
from service.client.errors import DeadlinePassed, Unreachable
from service.client.retries import Retry, Tries
from service.errors import QueueFull

FULL = b'{"error": {"code": "queue_full", "message": "ask again", "param": null}}'


def test_addresses_come_from_arguments_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(core.URL_VARIABLE, raising=False)
    monkeypatch.delenv(core.KEY_VARIABLE, raising=False)
    assert Address.of(None, None).url == core.DEFAULT_URL
    assert Address.of(None, None).headers() == {}
    monkeypatch.setenv(core.URL_VARIABLE, "https://here/")
    monkeypatch.setenv(core.KEY_VARIABLE, "secret")
    assert Address.of(None, None).url == "https://here"
    assert Address.of("http://there:1", "other").headers() == {"authorization": "Bearer other"}
    assert Address.of(None, None).headers() == {"authorization": "Bearer secret"}
    assert "secret" not in repr(Address.of(None, None))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://here", "/path"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        Address.of(url, None)


def test_a_request_carries_key_headers_query_and_what_time_is_left() -> None:
    call: Call[object] = Call("POST", "/v1/x", lambda _: None, {"a": "1", "b": None}, {"x-y": "z"}, b"body")
    with httpx.Client() as http:
        tries = Tries(Retry(deadline_s=5.0), repeatable=False, clock=lambda: 0.0)
        request = Address("http://here", "key").request(http, call, tries)
    assert str(request.url) == "http://here/v1/x?a=1"
    assert (request.headers["authorization"], request.headers["x-y"], request.content) == (
        "Bearer key",
        "z",
        b"body",
    )
    assert request.extensions["timeout"] == {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}


def test_timeouts() -> None:
    assert timeout(None).read is None
    assert timeout(None).connect == core.CONNECT_TIMEOUT_S
    assert timeout(300.0).connect == core.CONNECT_TIMEOUT_S
    assert timeout(0.0).read == 0.001


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
def test_nobody_there_is_tried_again_then_unreachable(error: httpx.TransportError) -> None:
    tries = Tries(Retry(retries=1), repeatable=False)
    assert delay_after_broken(error, tries, "http://here") > 0
    with pytest.raises(Unreachable, match="after 2 tries"):
        delay_after_broken(error, tries, "http://here")


def test_a_post_that_may_have_run_is_not_sent_twice() -> None:
    with pytest.raises(Unreachable, match="reset"):
        delay_after_broken(httpx.ReadError("reset"), Tries(Retry(), repeatable=False), "http://here")
    assert delay_after_broken(httpx.ReadError("reset"), Tries(Retry(), repeatable=True), "http://here") > 0


def test_silence_until_the_end_is_a_deadline() -> None:
    with pytest.raises(DeadlinePassed, match="did not answer in time"):
        delay_after_broken(httpx.ReadTimeout("slow"), Tries(Retry(), repeatable=False), "http://here")


def test_a_refusal_that_stands_is_the_servers_own_error() -> None:
    tries = Tries(Retry(retries=1), repeatable=False)
    refusal = Reply(429, {"retry-after-ms": "20"}, FULL)
    assert delay_after_refusal(refusal, tries) == pytest.approx(0.02, rel=0.3)
    with pytest.raises(QueueFull, match="ask again") as caught:
        delay_after_refusal(refusal, tries)
    assert caught.value.__notes__ == ["the last of 2 tries"]
