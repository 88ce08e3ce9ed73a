"""The queue: bounded in pixels, number and predicted wait, fair, and never leaking what it admitted."""

import random
import time

import pytest

from service.engine.admission import JobQueue, Rates
from service.engine.messages import Job, Priority
from service.errors import QueueFull


def job(job_id: int, cost: int = 10, model: str = "tiny", priority: Priority = "interactive") -> Job:
    return Job(id=job_id, model=model, cost=cost, submitted_at=0.0, priority=priority)


def make(
    max_cost: int = 100,
    max_jobs: int = 8,
    board_jobs: int = 3,
    board_cost: int = 40,
    boards: int = 1,
    max_wait_s: float = 1e9,
) -> JobQueue:
    made = JobQueue(
        max_cost=max_cost,
        max_jobs=max_jobs,
        board_jobs=board_jobs,
        board_cost=board_cost,
        boards=boards,
        max_wait_s=max_wait_s,
    )
    for board in made.boards:
        board.open = True
    return made


def boarded(waiting: JobQueue) -> list[int]:
    return [item.id for _, item in waiting.board()]


def test_boards_oldest_first_up_to_the_room() -> None:
    waiting = make()
    for number in range(5):
        waiting.put(job(number))
    assert boarded(waiting) == [0, 1, 2]
    assert boarded(waiting) == []
    waiting.done(1)
    assert boarded(waiting) == [3]
    assert waiting.on_board == (0, 2, 3)
    assert waiting.waiting == 1


def test_boards_by_cost_too_and_nobody_overtakes() -> None:
    waiting = make()
    for number, cost in enumerate((30, 20, 17)):  # of one size class: 17 to 31
        waiting.put(job(number, cost))
    assert boarded(waiting) == [0]  # 30 + 20 exceed 40
    waiting.done(0)
    assert boarded(waiting) == [1, 2]


def test_a_worker_that_is_not_ready_gets_nothing() -> None:
    waiting = make()
    waiting.boards[0].open = False
    waiting.put(job(1))
    assert boarded(waiting) == []
    waiting.boards[0].open = True
    assert boarded(waiting) == [1]


def test_classes_take_turns_by_their_seconds() -> None:
    waiting = make(max_cost=10_000, max_jobs=99, board_jobs=4, board_cost=1000)
    for number in range(8):
        waiting.put(job(number, 100, "large"))
    for number in range(8, 16):
        waiting.put(job(number, 100, "small"))
    assert sorted(boarded(waiting)) == [0, 1, 2, 3, 8, 9, 10, 11]  # four each, though eight came first


def test_batch_jobs_board_when_nothing_interactive_waits_and_leave_room() -> None:
    waiting = make(max_cost=10_000, max_jobs=99, board_jobs=4, board_cost=1000)
    for number in range(4):
        waiting.put(job(number, priority="batch"))
    waiting.put(job(9))
    assert boarded(waiting) == [9, 0, 1]  # half of the seats at most
    for number in range(10, 15):
        waiting.put(job(number))
    assert boarded(waiting) == [10, 11, 12]
    waiting.done(0)
    assert boarded(waiting) == []  # two interactive ones wait


def test_jobs_go_to_the_worker_that_will_be_free_first() -> None:
    waiting = make(boards=2, board_jobs=4, max_cost=1000, board_cost=1000)
    waiting.put(job(0, 100))
    for number in range(1, 4):
        waiting.put(job(number, 30))
    places = {item.id: number for number, item in waiting.board()}
    assert places[0] != places[1] == places[2] == places[3]
    waiting.boards[places[0]].open = False
    waiting.put(job(7))
    assert [number for number, _ in waiting.board()] == [places[1]]


def test_refuses_beyond_the_cost_and_says_when_to_come_back() -> None:
    waiting = make()
    waiting.put(job(1, 90))
    with pytest.raises(QueueFull) as refusal:
        waiting.put(job(2, 11))
    assert float(refusal.value.headers["retry-after"]) >= 1
    assert int(refusal.value.headers["retry-after-ms"]) >= 1
    waiting.put(job(3, 10))
    assert waiting.cost == 100


def test_refuses_beyond_the_number() -> None:
    waiting = make(max_jobs=2)
    waiting.put(job(1, 1))
    waiting.put(job(2, 1))
    with pytest.raises(QueueFull):
        waiting.put(job(3, 1))


def test_one_job_beyond_every_limit_runs_alone() -> None:
    waiting = make(max_wait_s=0.001)
    waiting.rates.learn({("Job", "tiny"): 1.0})
    waiting.put(job(1, 1000))
    assert boarded(waiting) == [1]
    with pytest.raises(QueueFull):
        waiting.put(job(2, 1))


def test_refuses_what_would_wait_too_long() -> None:
    waiting = make(max_cost=10**6, max_wait_s=10.0)
    waiting.rates.learn({("Job", "tiny"): 0.1})
    waiting.put(job(1, 60))
    waiting.put(job(2, 60))  # 6 s are before it
    assert waiting.wait_s("interactive") == pytest.approx(12.0)
    with pytest.raises(QueueFull) as refusal:
        waiting.put(job(3, 60))
    assert refusal.value.headers == {"retry-after": "12", "retry-after-ms": "12000"}


def test_a_flood_of_one_class_is_no_wait_for_another() -> None:
    """Classes have equal shares: who comes with something else is served next, and told so."""
    waiting = make(max_cost=10**6, max_jobs=999, max_wait_s=10.0)
    waiting.rates.learn({("Job", "tiny"): 0.1})
    waiting.put(job(1, 1000))  # 100 s
    with pytest.raises(QueueFull):
        waiting.put(job(2, 1000))
    for number in range(3, 9):
        waiting.put(job(number, 10))  # 1 s each; two classes share, so the sixth waits for 2 x 5 s
    with pytest.raises(QueueFull) as refusal:
        waiting.put(job(9, 10))
    assert refusal.value.details["retry_after_s"] == pytest.approx(12.0)


def test_refuses_at_once_what_cannot_be_in_time() -> None:
    waiting = make(max_cost=10**6)
    waiting.rates.learn({("Job", "tiny"): 0.1})
    waiting.put(job(1, 600))
    late = Job(id=2, model="tiny", cost=600, submitted_at=0.0, deadline=time.monotonic() + 30)
    with pytest.raises(QueueFull, match="x-timeout-ms is shorter than the wait"):
        waiting.put(late)
    waiting.put(Job(id=3, model="tiny", cost=600, submitted_at=0.0, deadline=time.monotonic() + 90))


def test_padding_to_a_pinned_bucket_is_work_too() -> None:
    waiting = make()
    waiting.put(Job(id=1, model="tiny", cost=10, submitted_at=0.0, bucket=8))
    assert waiting.cost == 80
    with pytest.raises(QueueFull):
        waiting.put(Job(id=2, model="tiny", cost=10, submitted_at=0.0, bucket=8))


def test_interactive_jobs_do_not_wait_for_batch_jobs() -> None:
    waiting = make(max_cost=10**6)
    waiting.rates.learn({("Job", "tiny"): 1.0})
    waiting.put(job(1, 5, priority="batch"))
    waiting.put(job(2, 3))
    assert waiting.wait_s("interactive") == pytest.approx(3.0)
    assert waiting.wait_s("batch") == pytest.approx(8.0)


def test_more_workers_halve_the_wait() -> None:
    waiting = make(boards=2, max_cost=10**6)
    waiting.rates.learn({("Job", "tiny"): 1.0})
    waiting.put(job(1, 6))
    assert waiting.wait_s("interactive") == pytest.approx(3.0)


def test_withdraws_only_who_waits() -> None:
    waiting = make(board_jobs=1)
    waiting.put(job(1))
    waiting.put(job(2))
    waiting.board()
    assert not waiting.withdraw(1)
    assert waiting.withdraw(2)
    assert not waiting.withdraw(2)
    assert waiting.cost == 10
    assert waiting.uses("tiny")
    waiting.done(1)
    assert not waiting.uses("tiny")


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


def test_what_warm_up_measured_holds_until_answers_say_otherwise() -> None:
    rates = Rates()
    assert rates.seconds(job(1)) > 0
    rates.learn({("Job", "tiny"): 2.0})
    assert rates.seconds(job(1)) == 20.0
    assert rates.seconds(job(1, model="other")) == 20.0  # as those that are known
    for _ in range(60):
        rates.observe(job(1), 50.0)
    assert rates.seconds(job(1)) == pytest.approx(50.0, rel=0.01)
    rates.learn({("Job", "tiny"): 2.0})  # a worker that starts again does not know better
    assert rates.seconds(job(1)) == pytest.approx(50.0, rel=0.01)


def test_nothing_is_lost_or_counted_twice() -> None:
    """A random course of admissions, boardings, withdrawals and ends: cost is always the sum of what is there."""
    chance = random.Random(3)
    waiting, there = make(max_cost=200, boards=2), dict[int, int]()
    for number in range(3000):
        action = chance.randrange(4)
        if action == 0:
            priority: Priority = "batch" if chance.random() < 0.3 else "interactive"
            item = job(number, chance.randint(1, 50), chance.choice("ab"), priority)
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
        for board in waiting.boards:
            assert board.cost == sum(there[job_id] for job_id in board.jobs)
            assert board.classes.total() == len(board.jobs)
    while waiting.board() or waiting.on_board:
        for chosen in waiting.on_board:
            waiting.done(chosen)
    assert waiting.cost == 0
    assert waiting.wait_s("batch") == 0.0


def test_what_goes_through_in_pieces_takes_the_room_of_a_piece() -> None:
    queue = make(max_cost=1000, board_cost=40)
    held = [Job(id=number, model="film", cost=300, held=15, submitted_at=0.0) for number in range(3)]
    for one in held:
        queue.put(one)
    assert queue.cost == 900
    assert boarded(queue) == [0, 1]  # two pieces have room, three have not
    assert queue.boards[0].cost == 30
    queue.done(0)
    assert boarded(queue) == [2]
