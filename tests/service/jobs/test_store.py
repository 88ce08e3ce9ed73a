"""Rows: nothing is lost, nothing is claimed twice, and who lost a lease changes nothing."""

import sqlite3
import threading
from pathlib import Path

import pytest

from service.errors import QueueFull
from service.jobs.errors import IdempotencyConflict, JobNotFinished, UnknownJob
from service.jobs.record import Progress, Result
from tests.service.jobs.conftest import Clock, OpenStore, new


def test_a_row_comes_back_as_it_was_put(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    added, created = store.add(new(1, owner="me", idempotency_key="k", num_bytes=7, request={"a": [1, "ü"]}))
    assert created
    again = open_store().get(added.id)
    assert again == added
    assert (again.state, again.owner, again.request, again.num_bytes) == ("queued", "me", {"a": [1, "ü"]}, 7)
    assert again.created_at == clock.now
    assert (again.attempts, again.started_at, again.result, again.error) == (0, None, None, None)


def test_jobs_are_claimed_in_order_and_by_lane(open_store: OpenStore) -> None:
    store = open_store()
    store.add(new(1))
    store.add(new(2, lane="processes"))
    store.add(new(3))
    claimed = [store.claim("requests", "me", 30) for _ in range(3)]
    assert [record.request["number"] if record else None for record in claimed] == [1, 3, None]
    assert claimed[0] is not None
    assert (claimed[0].state, claimed[0].attempts, claimed[0].lease_owner) == ("running", 1, "me")


def test_many_servers_never_claim_one_job_twice(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    for number in range(40):
        store.add(new(number))
    claimed: list[str] = []
    lock = threading.Lock()

    def serve(name: str) -> None:
        own = open_store()
        while (record := own.claim("requests", name, 30)) is not None:
            with lock:
                claimed.append(record.id)

    threads = [threading.Thread(target=serve, args=(f"server {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert len(set(claimed)) == 40


def test_the_same_key_and_request_is_the_same_job(open_store: OpenStore) -> None:
    store = open_store()
    first, _ = store.add(new(1, owner="me", idempotency_key="k"))
    again, created = store.add(new(2, owner="me", idempotency_key="k", fingerprint=first.fingerprint))
    assert (again.id, created) == (first.id, False)
    other, created = store.add(
        new(3, owner="you", idempotency_key="k")
    )  # another caller's key is another key
    assert created
    with pytest.raises(IdempotencyConflict, match=first.id):
        store.add(new(4, owner="me", idempotency_key="k"))
    assert store.ids() == {first.id, other.id}


def test_a_lost_lease_changes_nothing(open_store: OpenStore, clock: Clock) -> None:
    mine, theirs = open_store(), open_store()
    job, _ = mine.add(new(1))
    assert mine.claim("requests", "mine", 30)
    clock.now += 31
    assert theirs.recover([]) == [job.id]
    taken = theirs.claim("requests", "theirs", 30)
    assert taken is not None
    assert (taken.attempts, taken.interruptions) == (2, 1)
    mine.progress(job.id, "mine", Progress(5, 6))
    assert not mine.finish(job.id, "mine", "succeeded", keep_s=10, result=Result("x", "y"))
    assert not mine.release(job.id, "mine")
    assert mine.renew("mine", 30) == []
    assert theirs.get(job.id) == taken
    assert theirs.finish(job.id, "theirs", "succeeded", keep_s=10, result=Result("x", "y", {"a": "b"}, 3))
    ended = mine.get(job.id)
    assert (ended.state, ended.result, ended.num_bytes) == ("succeeded", Result("x", "y", {"a": "b"}, 3), 3)


def test_renewed_leases_hold(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    job, _ = store.add(new(1))
    store.claim("requests", "me", 30)
    for _ in range(3):
        clock.now += 20
        assert [record.id for record in store.renew("me", 30)] == [job.id]
        assert store.recover([]) == []
    assert store.servers() == {"me"}
    assert store.recover(["me"]) == [job.id]


def test_jobs_that_go_back_keep_their_place(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    first, _ = store.add(new(1))
    second, _ = store.add(new(2))
    store.claim("requests", "me", 30)
    assert store.release(first.id, "me", after_s=5)
    waiting = store.get(first.id)
    assert (waiting.state, waiting.attempts, waiting.interruptions) == ("queued", 0, 0)
    taken = store.claim("requests", "me", 30)
    assert taken is not None
    assert taken.id == second.id  # the first one waits for its time
    clock.now += 6
    store.release(second.id, "me", interrupted=True)
    assert store.get(second.id).interruptions == 1
    order = [store.claim("requests", "me", 30), store.claim("requests", "me", 30)]
    assert [record.id for record in order if record] == [first.id, second.id]


def test_cancel(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    waiting, running, started = (store.add(new(number))[0] for number in range(3))
    assert store.ask_cancel(waiting.id, "", keep_s=10).state == "cancelled"
    store.claim("requests", "me", 30)
    asked = store.ask_cancel(running.id, "", keep_s=10)
    assert (asked.state, asked.cancel_asked) == ("running", True)
    store.claim("requests", "me", 30)
    store.recover(["me"])
    left = store.ask_cancel(started.id, "", keep_s=10)  # something of it may live: whoever claims it looks
    assert (left.state, left.cancel_asked) == ("queued", True)
    with pytest.raises(UnknownJob):
        store.ask_cancel(waiting.id, "another", keep_s=10)
    assert store.ask_cancel(waiting.id, "", keep_s=99).expires_at == clock.now + 10  # it had ended


def test_delete_and_expire(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    kept, gone = (store.add(new(number))[0] for number in range(2))
    with pytest.raises(JobNotFinished, match="cancel it first"):
        store.delete(kept.id, "")
    store.ask_cancel(gone.id, "", keep_s=10)
    with pytest.raises(UnknownJob):
        store.delete(gone.id, "another")
    assert store.delete(gone.id, "").id == gone.id
    with pytest.raises(UnknownJob):
        store.get(gone.id)
    store.claim("requests", "me", 1000)
    store.finish(kept.id, "me", "failed", keep_s=10, error={"code": "c", "message": "m"})
    assert store.expire() == []
    clock.now += 11
    assert store.expire() == [kept.id]
    assert store.ids() == set()


def test_lists_by_pages_and_owner(open_store: OpenStore) -> None:
    store = open_store()
    for number in range(5):
        store.add(new(number, owner="me"))
    store.add(new(9, owner="you"))
    store.claim("requests", "s", 30)

    def numbers(**which: object) -> list[int]:
        return [record.request["number"] for record in store.page("me", **({"limit": 10} | which))]  # type: ignore[arg-type]

    assert numbers() == [4, 3, 2, 1, 0]
    assert numbers(limit=2) == [4, 3]
    assert numbers(limit=2, after=new(3).id) == [2, 1]
    assert numbers(newest_first=False, after=new(1).id) == [2, 3, 4]
    assert numbers(state="running") == [0]
    assert numbers(kind="other") == []
    with pytest.raises(UnknownJob):
        numbers(after=new(9).id)


def test_full(open_store: OpenStore) -> None:
    store = open_store(max_waiting=2, max_bytes=100)
    store.add(new(1, num_bytes=60))
    with pytest.raises(QueueFull, match="files of all jobs"):
        store.add(new(2, num_bytes=60))
    store.add(new(3, num_bytes=10))
    with pytest.raises(QueueFull, match="2 jobs wait"):
        store.add(new(4))
    store.claim("requests", "me", 30)
    store.add(new(5))


def test_typical_time_is_that_of_jobs_that_ended_well(open_store: OpenStore, clock: Clock) -> None:
    store = open_store()
    assert store.typical_s("told") is None
    for number, (seconds, state) in enumerate([(4, "succeeded"), (8, "succeeded"), (100, "failed")]):
        job, _ = store.add(new(number))
        store.claim("requests", "me", 1000)
        clock.now += seconds
        store.finish(job.id, "me", state, keep_s=10)  # type: ignore[arg-type]
    assert store.typical_s("told") == 6.0
    assert store.typical_s("other") is None


def test_ahead_are_the_running_and_the_earlier(open_store: OpenStore) -> None:
    store = open_store()
    rows = [store.add(new(number))[0] for number in range(4)]
    store.claim("requests", "me", 30)
    ahead = store.ahead(store.get(rows[2].id))
    assert [(record.id, record.state) for record in ahead] == [
        (rows[0].id, "running"),
        (rows[1].id, "queued"),
    ]


def test_what_is_answered_is_on_disk(open_store: OpenStore, tmp_path: Path) -> None:
    """A process that ends without closing anything leaves every committed row to the next."""
    store = open_store()
    for number in range(3):
        store.add(new(number))
    other = sqlite3.connect(tmp_path / "jobs.sqlite3")
    assert other.execute("SELECT count(*) FROM jobs").fetchone() == (3,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
