"""The queue: bounded in pixels and number, in order, and never leaking what it admitted."""

import random

import pytest

from service.engine.admission import JobQueue
from service.engine.messages import Job
from service.errors import QueueFull


def job(job_id: int, cost: int = 10) -> Job:
    return Job(id=job_id, model="tiny", cost=cost, submitted_at=0.0)


def make(max_cost: int = 100, max_jobs: int = 8, board_jobs: int = 3, board_cost: int = 40) -> JobQueue:
    return JobQueue(max_cost=max_cost, max_jobs=max_jobs, board_jobs=board_jobs, board_cost=board_cost)


def test_boards_oldest_first_up_to_the_room() -> None:
    waiting = make()
    for number in range(5):
        waiting.put(job(number))
    assert [item.id for item in waiting.board()] == [0, 1, 2]
    assert waiting.board() == []
    waiting.done(1)
    assert [item.id for item in waiting.board()] == [3]
    assert waiting.on_board == (0, 2, 3)


def test_boards_by_cost_too() -> None:
    waiting = make()
    for number, cost in enumerate((30, 20, 1)):
        waiting.put(job(number, cost))
    assert [item.id for item in waiting.board()] == [0]  # 30 + 20 exceed 40, and nobody overtakes
    waiting.done(0)
    assert [item.id for item in waiting.board()] == [1, 2]


def test_refuses_beyond_the_cost_and_says_when_to_come_back() -> None:
    waiting = make()
    waiting.put(job(1, 90))
    with pytest.raises(QueueFull) as refusal:
        waiting.put(job(2, 11))
    assert float(refusal.value.headers["retry-after"]) >= 1
    waiting.put(job(3, 10))
    assert waiting.cost == 100


def test_refuses_beyond_the_number() -> None:
    waiting = make(max_jobs=2)
    waiting.put(job(1, 1))
    waiting.put(job(2, 1))
    with pytest.raises(QueueFull):
        waiting.put(job(3, 1))


def test_one_job_beyond_every_limit_runs_alone() -> None:
    waiting = make()
    waiting.put(job(1, 1000))
    assert [item.id for item in waiting.board()] == [1]
    with pytest.raises(QueueFull):
        waiting.put(job(2, 1))


def test_withdraws_only_who_waits() -> None:
    waiting = make(board_jobs=1)
    waiting.put(job(1))
    waiting.put(job(2))
    waiting.board()
    assert not waiting.withdraw(1)
    assert waiting.withdraw(2)
    assert not waiting.withdraw(2)
    assert waiting.cost == 10


def test_retry_after_follows_the_measured_speed() -> None:
    def refusal(seconds: float) -> float:
        waiting = make(max_cost=100)
        for number in range(60):
            waiting.put(job(number))
            waiting.board()
            waiting.done(number, seconds)
        waiting.put(job(99, 100))
        with pytest.raises(QueueFull) as error:
            waiting.put(job(100))
        return float(str(error.value.details["retry_after_s"]))

    assert refusal(1.0) == pytest.approx(10.0, rel=0.05)  # 100 pixels at 10 pixels a second
    assert refusal(3.0) == pytest.approx(30.0, rel=0.05)
    assert refusal(100.0) == 60.0


def test_nothing_is_lost_or_counted_twice() -> None:
    """A random course of admissions, boardings, withdrawals and ends: cost is always the sum of what is there."""
    chance = random.Random(3)
    waiting, there = make(max_cost=200), dict[int, int]()
    for number in range(3000):
        action = chance.randrange(4)
        if action == 0:
            item = job(number, chance.randint(1, 50))
            try:
                waiting.put(item)
                there[item.id] = item.cost
            except QueueFull:
                assert there
        elif action == 1:
            waiting.board()
        elif there:
            chosen = chance.choice(list(there))
            if action == 2 and waiting.withdraw(chosen):
                del there[chosen]
            elif action == 3 and chosen in waiting.on_board:
                waiting.done(chosen, 0.1)
                del there[chosen]
        assert waiting.cost == sum(there.values())
        assert set(waiting.on_board) <= set(there)
    for chosen in waiting.on_board:
        waiting.done(chosen)
