"""The schedule: everything compatible that is there, in fair turns, urgent work first, and no waiting for company."""

import threading

from service.engine.batching import Batch, Chore, Prepared, ReadyJobs, Tick
from service.engine.costs import Costs, buckets_up_to
from service.engine.messages import Priority


def costs(max_batch: int = 8, max_pixels: int = 100) -> Costs:
    """Nothing is measured: a bucket only has to hold."""
    return Costs(buckets_up_to(max_batch), chosen=True, max_pixels=max_pixels, max_seconds=1.0)


def prepared(
    number: int,
    key: str = "a",
    *,
    cost: int = 10,
    rows: int = 1,
    stepped: bool = False,
    priority: Priority = "interactive",
    pinned: int | None = None,
) -> Prepared[None]:
    return Prepared(number, (key, "tiny"), cost * rows, None, rows, stepped, priority, pinned)


def filled(*keys: str, cost: int = 10, max_batch: int = 8, max_pixels: int = 100) -> ReadyJobs[None]:
    ready: ReadyJobs[None] = ReadyJobs(costs(max_batch, max_pixels))
    for number, key in enumerate(keys):
        ready.put(prepared(number, key, cost=cost))
    return ready


def taken(ready: ReadyJobs[None], seconds: float = 1.0) -> list[int]:
    turn = ready.take()
    assert isinstance(turn, Batch)
    ready.charge(turn.group, seconds)
    return [job.id for job in turn.jobs]


def test_takes_all_that_share_a_key_and_gives_everyone_a_turn() -> None:
    ready = filled("a", "b", "a", "c", "a", "b")
    assert [taken(ready) for _ in range(3)] == [[0, 2, 4], [1, 5], [3]]


def test_keeps_to_the_batch_and_the_pixels() -> None:
    assert taken(filled(*"aaaa", max_batch=3)) == [0, 1]  # buckets are powers of two
    assert taken(filled(*"aaaa", max_pixels=25)) == [0, 1]


def test_one_job_beyond_the_pixels_runs_alone() -> None:
    ready = filled(*"aa", cost=1000)
    assert [taken(ready), taken(ready)] == [[0], [1]]


def test_a_batch_is_padded_to_the_bucket_that_fits() -> None:
    ready = filled(*"aaa", max_pixels=1000)
    turn = ready.take()
    assert isinstance(turn, Batch)
    assert (len(turn.jobs), turn.bucket) == (3, 4)


def test_rows_count_and_a_job_of_many_rows_runs_alone_in_the_largest_bucket() -> None:
    ready: ReadyJobs[None] = ReadyJobs(costs(4, 1000))
    for number, rows in enumerate((2, 2, 1, 9)):
        ready.put(prepared(number, rows=rows))
    turns = [ready.take() for _ in range(3)]
    assert [([job.id for job in turn.jobs], turn.bucket) for turn in turns if isinstance(turn, Batch)] == [
        ([0, 1], 4),
        ([2], 1),
        ([3], 4),
    ]


def test_a_pinned_job_runs_only_with_those_of_its_bucket() -> None:
    ready: ReadyJobs[None] = ReadyJobs(costs(8, 1000))
    for number, pinned in enumerate((None, 4, None, 4, 8)):
        ready.put(prepared(number, pinned=pinned))
    turns = [ready.take() for _ in range(3)]
    assert [([job.id for job in turn.jobs], turn.bucket) for turn in turns if isinstance(turn, Batch)] == [
        ([0, 2], 2),
        ([1, 3], 4),
        ([4], 8),
    ]


def test_seconds_are_shared_whatever_a_turn_costs() -> None:
    ready: ReadyJobs[None] = ReadyJobs(costs(1))
    for number in range(40):
        ready.put(prepared(number, "dear" if number < 20 else "cheap"))
    order = ["dear" if number < 20 else "cheap" for _ in range(22) for number in taken_at_price(ready)]
    assert order.count("dear") == 2  # 10 s each; the cheap ones have had 20 turns of 1 s by then


def taken_at_price(ready: ReadyJobs[None]) -> list[int]:
    turn = ready.take()
    assert isinstance(turn, Batch)
    ready.charge(turn.group, 10.0 if turn.group.key[0] == "dear" else 1.0)
    return [job.id for job in turn.jobs]


def test_batch_work_has_its_turn_when_nothing_interactive_waits() -> None:
    ready: ReadyJobs[None] = ReadyJobs(costs())
    ready.put(prepared(0, "a", priority="batch"))
    ready.put(prepared(1, "b"))
    assert taken(ready) == [1]
    ready.put(prepared(2, "c"))
    assert [taken(ready), taken(ready)] == [[2], [0]]


def test_batch_work_waits_for_room_and_interactive_work_passes_it() -> None:
    room: list[bool] = []
    ready: ReadyJobs[None] = ReadyJobs(costs(), room=lambda _: bool(room))
    ready.put(prepared(0, priority="batch"))
    ready.put(prepared(1))
    assert taken(ready) == [1]
    found: list[list[int]] = []
    taker = threading.Thread(target=lambda: found.append(taken(ready)))
    taker.start()
    room.append(True)
    ready.wake()
    taker.join(30)
    assert found == [[0]]


def test_stepped_work_keeps_its_turns_between_others() -> None:
    ready: ReadyJobs[None] = ReadyJobs(costs())
    ready.put(prepared(0, "steps", stepped=True))
    ready.put(prepared(1, "steps", stepped=True))
    tick = ready.take()
    assert isinstance(tick, Tick)
    assert [job.id for job in tick.joining] == [0, 1]
    ready.charge(tick.group, 1.0)
    ready.stay(tick.group, busy=True)
    ready.put(prepared(2, "a"))
    ready.put(prepared(3, "steps", stepped=True))
    assert taken(ready) == [2]
    again = ready.take()
    assert isinstance(again, Tick)
    assert [job.id for job in again.joining] == [3]
    ready.charge(again.group, 1.0)
    alone = ready.take()  # nobody joins
    assert isinstance(alone, Tick)
    assert alone.joining == []
    ready.stay(tick.group, busy=False)
    ready.close()
    assert ready.take() is None


def test_chores_have_turns_too() -> None:
    ready = filled("a")
    ready.chore(lambda: False)
    assert taken(ready) == [0]
    chore = ready.take()
    assert isinstance(chore, Chore)
    assert not chore.run()


def test_drops_who_still_waits() -> None:
    ready = filled(*"aaa")
    assert ready.drop(1)
    assert not ready.drop(1)
    assert taken(ready) == [0, 2]
    assert not ready.drop(0)
    assert len(ready) == 0


def test_a_single_job_is_taken_at_once_and_a_late_one_wakes_the_taker() -> None:
    ready = filled()
    found: list[list[int]] = []
    taker = threading.Thread(target=lambda: found.append(taken(ready)))
    taker.start()
    ready.put(prepared(7))
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
