"""Many files: those that are there are skipped, those that fail stop no other, all are told."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from service.cli.files import Task
from service.cli.many import Outcome, carry_out, tell
from service.errors import QueueFull


def todo(folder: Path, count: int) -> list[Task]:
    return [Task(folder / f"{index}.in", folder / f"{index}.out") for index in range(count)]


def write(task: Task) -> dict[str, Any]:
    task.write(task.name.encode())
    return {"length": len(task.name)}


def run(tasks: list[Task], work: Any = write, **options: Any) -> Outcome:
    given = {"concurrency": 3, "overwrite": False, "description": "test", "quiet": True} | options
    return carry_out(tasks, work, **given)


def test_all_are_done_in_order_and_again_they_are_skipped(tmp_path: Path) -> None:
    tasks = todo(tmp_path, 5)
    first = run(tasks)
    assert [facts["input"] for facts in first.done] == [task.name for task in tasks]
    assert first.exit_code == 0
    tasks[2].target.unlink()  # type: ignore[union-attr]  # every one has a target
    second = run(tasks)
    assert [facts["output"] for facts in second.done] == [str(tasks[2].target)]
    assert len(second.skipped) == 4
    assert len(run(tasks, overwrite=True).done) == 5


def test_a_failure_is_named_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = todo(tmp_path, 4)

    def work(task: Task) -> dict[str, Any]:
        if task is tasks[1]:
            raise QueueFull("ask again")
        if task is tasks[2]:
            raise FileNotFoundError("gone")
        return write(task)

    outcome = run(tasks, work)
    assert len(outcome.done) == 2
    assert outcome.failed == [
        (tasks[1].name, "queue_full", "ask again"),
        (tasks[2].name, "FileNotFoundError", "gone"),
    ]
    assert tell(outcome, as_json=True, summary="") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failed"][0] == {
        "input": tasks[1].name,
        "code": "queue_full",
        "message": "ask again",
    }
    assert f"{tasks[1].name}: ask again" in captured.err


def test_a_defect_of_the_command_is_not_hidden(tmp_path: Path) -> None:
    def work(_: Task) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(todo(tmp_path, 3), work)


def test_as_many_at_once_as_asked(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=30)

    def work(task: Task) -> dict[str, Any]:
        together.wait()
        return write(task)

    assert len(run(todo(tmp_path, 3), work).done) == 3


def test_the_summary_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Outcome(), as_json=False, summary="3 done") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "3 done\n")
