"""Token buckets: a burst of a minute's worth, then the stated rate; refusals say exactly when to come again."""

import pytest

from service.errors import RateLimited
from service.rate_limits import RateLimits, address_group


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> RateLimits:
    return RateLimits(clock=clock, max_buckets=3)


def test_a_burst_of_a_minute_then_the_rate(limits: RateLimits, clock: Clock) -> None:
    for left in (2, 1, 0):
        assert limits.take("key:a", "requests", 1, 3).remaining == left
    with pytest.raises(RateLimited) as refused:
        limits.take("key:a", "requests", 1, 3)
    assert 20.0 <= refused.value.details["retry_after_s"] <= 20.01  # type: ignore[operator]  # a float
    clock.now += 20.0
    limits.take("key:a", "requests", 1, 3)
    with pytest.raises(RateLimited):
        limits.take("key:a", "requests", 1, 3)


def test_over_ten_minutes_the_rate_is_what_was_stated(limits: RateLimits, clock: Clock) -> None:
    served = 0
    for _ in range(6000):  # ten a second for ten minutes
        clock.now += 0.1
        try:
            limits.take("address:x", "requests", 1, 60)
            served += 1
        except RateLimited:
            pass
    assert 600 <= served <= 661  # one a second and the first burst


def test_the_time_told_is_enough_and_not_too_much(limits: RateLimits, clock: Clock) -> None:
    limits.take("key:a", "pixels", 900, 1000)
    with pytest.raises(RateLimited) as refused:
        limits.take("key:a", "pixels", 600, 1000)
    seconds = refused.value.details["retry_after_s"]
    assert isinstance(seconds, float)
    clock.now += seconds - 0.1
    with pytest.raises(RateLimited):
        limits.take("key:a", "pixels", 600, 1000)
    clock.now += 0.1
    limits.take("key:a", "pixels", 600, 1000)


def test_more_than_a_whole_bucket_runs_when_it_is_full_and_leaves_a_debt(
    limits: RateLimits, clock: Clock
) -> None:
    assert limits.take("key:a", "pixels", 3000, 1000).remaining == 0
    with pytest.raises(RateLimited) as refused:
        limits.take("key:a", "pixels", 1, 1000)
    assert refused.value.details["retry_after_s"] == pytest.approx(120.06, abs=0.01)
    clock.now += 181
    assert limits.take("key:a", "pixels", 1, 1000).remaining == 999


def test_keys_addresses_and_kinds_do_not_share(limits: RateLimits) -> None:
    limits.take("key:a", "requests", 1, 1)
    limits.take("key:b", "requests", 1, 1)
    limits.take("key:a", "pixels", 1, 1)
    with pytest.raises(RateLimited, match="this key may ask for 1 requests"):
        limits.take("key:a", "requests", 1, 1)


def test_what_is_given_back_can_be_taken_again(limits: RateLimits) -> None:
    limits.take("key:a", "pixels", 80, 100)
    limits.give_back("key:a", "pixels", 80, 100)
    assert limits.peek("key:a", "pixels", 100).remaining == 100
    limits.give_back("key:a", "pixels", 80, 100)  # never more than full
    assert limits.peek("key:a", "pixels", 100).remaining == 100


def test_headers_say_limit_rest_and_time(limits: RateLimits) -> None:
    assert limits.take("key:a", "requests", 30, 60).headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "30",
        "x-ratelimit-reset-requests": "30.000s",
    }


def test_a_refusal_carries_retry_after(limits: RateLimits) -> None:
    limits.take("address:x", "requests", 1, 40)
    with pytest.raises(RateLimited) as refused:
        limits.take("address:x", "requests", 40, 40)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.headers == {"retry-after": "2", "retry-after-ms": "1500"}


def test_memory_is_bounded_and_the_idle_are_forgotten_first(limits: RateLimits) -> None:
    for who in ("a", "b", "c"):
        limits.take(who, "requests", 1, 2)
    limits.take("a", "requests", 1, 2)  # a is not idle
    limits.take("d", "requests", 1, 2)
    assert len(limits) == 3
    assert limits.peek("a", "requests", 2).remaining == 0
    assert limits.peek("b", "requests", 2).remaining == 2  # forgotten


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_is_grouped_as_one_machine_owns_it(host: str, group: str) -> None:
    assert address_group(host) == group
