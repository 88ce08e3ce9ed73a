"""Opportunistic batching: everything compatible that is there, oldest first, and no waiting."""

import threading

from service.engine.batching import Prepared, ReadyJobs


def filled(*keys: str, cost: int = 10, max_batch: int = 8, max_cost: int = 100) -> ReadyJobs[None]:
    ready: ReadyJobs[None] = ReadyJobs(max_batch=max_batch, max_cost=max_cost)
    for number, key in enumerate(keys):
        ready.put(Prepared(number, key, cost, None))
    return ready


def taken(ready: ReadyJobs[None]) -> list[int]:
    return [job.id for job in ready.take() or []]


def test_takes_all_that_share_the_oldest_ones_key() -> None:
    ready = filled("a", "b", "a", "c", "a", "b")
    assert [taken(ready) for _ in range(3)] == [[0, 2, 4], [1, 5], [3]]


def test_keeps_to_the_batch_and_the_pixels() -> None:
    assert taken(filled(*"aaaa", max_batch=3)) == [0, 1, 2]
    assert taken(filled(*"aaaa", max_cost=25)) == [0, 1]


def test_one_job_beyond_the_pixels_runs_alone() -> None:
    ready = filled(*"aa", cost=1000)
    assert [taken(ready), taken(ready)] == [[0], [1]]


def test_drops_who_still_waits() -> None:
    ready = filled(*"aaa")
    assert ready.drop(1)
    assert not ready.drop(1)
    assert taken(ready) == [0, 2]
    assert not ready.drop(0)


def test_a_single_job_is_taken_at_once_and_a_late_one_wakes_the_taker() -> None:
    ready = filled()
    found: list[list[int]] = []
    taker = threading.Thread(target=lambda: found.append(taken(ready)))
    taker.start()
    ready.put(Prepared(7, "a", 1, None))
    taker.join(30)
    assert found == [[7]]


def test_close_gives_what_is_left_then_none() -> None:
    ready = filled("a")
    ready.close()
    assert taken(ready) == [0]
    assert ready.take() is None


def test_close_wakes_the_taker() -> None:
    ready = filled()
    found: list[object] = []
    taker = threading.Thread(target=lambda: found.append(ready.take()))
    taker.start()
    ready.close()
    taker.join(30)
    assert found == [None]
