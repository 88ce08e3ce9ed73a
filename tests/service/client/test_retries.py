"""Tries: only what is safe, never earlier than told, never beyond the deadline."""

import email.utils

import pytest

from service.client.retries import JITTER, Retry, Tries, told_delay_s


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tries(
    policy: Retry | None = None, *, repeatable: bool = False, uniform: float = 0.0
) -> tuple[Tries, Clock]:
    clock = Clock()
    made = Tries(policy or Retry(), repeatable=repeatable, clock=clock, uniform=lambda: uniform)
    return made, clock


@pytest.mark.parametrize("status", [429, 503])
def test_work_that_was_not_done_is_asked_for_again(status: int) -> None:
    assert tries()[0].after_answer(status, {}) is not None


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500, 507])
def test_what_stands_is_not_asked_again(status: int) -> None:
    assert tries(repeatable=True)[0].after_answer(status, {"retry-after": "1"}) is None


@pytest.mark.parametrize("status", [502, 504])
def test_work_that_may_be_done_is_repeated_only_where_that_is_harmless(status: int) -> None:
    assert tries(repeatable=False)[0].after_answer(status, {}) is None
    assert tries(repeatable=True)[0].after_answer(status, {}) is not None


def test_a_broken_connection_is_repeated_only_if_nothing_was_sent_or_it_is_harmless() -> None:
    assert tries()[0].after_broken(sent=False) is not None
    assert tries()[0].after_broken(sent=True) is None
    assert tries(repeatable=True)[0].after_broken(sent=True) is not None


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999])
def test_never_earlier_than_told_and_not_all_together(uniform: float) -> None:
    made, _ = tries(uniform=uniform)
    delay = made.after_answer(429, {"retry-after-ms": "1500", "retry-after": "9"})
    assert delay == pytest.approx(1.5 * (1 + JITTER * uniform))


@pytest.mark.parametrize("uniform", [0.0, 0.999])
def test_without_a_word_waits_double_up_to_the_longest(uniform: float) -> None:
    made, _ = tries(Retry(retries=5, first_delay_s=1.0, max_delay_s=4.0), uniform=uniform)
    delays = [made.after_broken(sent=False) for _ in range(5)]
    expected = [longest * (0.5 + 0.5 * uniform) for longest in (1, 2, 4, 4, 4)]
    assert delays == pytest.approx(expected)
    assert made.retried == 5
    assert made.after_broken(sent=False) is None


def test_a_wait_that_ends_after_the_deadline_is_not_begun() -> None:
    made, clock = tries(Retry(deadline_s=10.0))
    assert made.after_answer(429, {"retry-after": "9"}) == 9.0
    clock.now += 9.0
    assert made.remaining_s == pytest.approx(1.0)
    assert made.after_answer(429, {"retry-after": "1"}) is None
    clock.now += 5.0
    assert made.remaining_s == 0.0


def test_without_a_deadline_any_wait_is_kept() -> None:
    made, _ = tries(Retry(deadline_s=None))
    assert made.remaining_s is None
    assert made.after_answer(503, {"retry-after": "86400"}) == 86400.0


def test_retry_after_is_read_in_every_form() -> None:
    date = email.utils.formatdate(1_000_030, usegmt=True)
    assert told_delay_s({"retry-after": date}, now=lambda: 1_000_000.0) == 30.0
    assert told_delay_s({"retry-after": date}, now=lambda: 2_000_000.0) == 0.0
    assert told_delay_s({"retry-after": "2"}) == 2.0
    assert told_delay_s({"retry-after-ms": "250"}) == 0.25
    for nonsense in ("soon", "-1", "inf", "nan", ""):
        assert told_delay_s({"retry-after": nonsense}) is None
    assert told_delay_s({}) is None
