"""A run in another process: found again by whoever comes next, and ended with all that belongs to it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs.child import NICENESS, Child

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(tmp_path)
    yield made
    made.stop(0.0)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path.name} does not come"
        time.sleep(0.02)
    return path.read_text().strip()


@pytest.mark.parametrize(("script", "status"), [("echo out; echo err >&2", 0), ("echo no; exit 3", 3)])
def test_status_and_words(child: Child, script: str, status: int) -> None:
    assert (child.running, child.status, child.last_words()) == (False, None, "")
    child.start(["sh", "-c", script], ENVIRONMENT)
    assert asyncio.run(child.wait()) == status
    assert child.last_words() in ("err", "no")


def test_runs_where_its_folder_is_at_low_priority(child: Child, tmp_path: Path) -> None:
    child.start(["sh", "-c", "pwd; nice"], ENVIRONMENT)
    assert asyncio.run(child.wait()) == 0
    where, niceness = (tmp_path / "log").read_text().split()
    assert Path(where).resolve() == tmp_path.resolve()
    assert int(niceness) >= min(19, os.nice(0) + NICENESS)


def test_two_runs_never_share_a_folder(child: Child, tmp_path: Path) -> None:
    child.start(["sleep", "60"], ENVIRONMENT)
    with pytest.raises(RuntimeError, match="lives"):
        Child(tmp_path).start(["true"], ENVIRONMENT)
    child.stop(5.0)
    assert not child.running
    assert child.status is None
    child.start(["true"], ENVIRONMENT)
    assert asyncio.run(child.wait()) == 0


def test_another_server_finds_it_and_its_status(child: Child, tmp_path: Path) -> None:
    child.start(["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 7"], ENVIRONMENT)
    found = Child(tmp_path)  # knows the folder alone
    assert found.running
    (tmp_path / "go").touch()
    assert asyncio.run(found.wait()) == 7


def test_what_was_killed_with_its_shell_has_no_status(child: Child, tmp_path: Path) -> None:
    child.start(["sleep", "60"], ENVIRONMENT)
    os.killpg(int(wait_for(tmp_path / "pid")), signal.SIGKILL)
    assert asyncio.run(child.wait()) is None


def test_a_process_that_was_killed_alone_has_the_signal_as_status(child: Child, tmp_path: Path) -> None:
    child.start(["sh", "-c", "echo $$ > own; exec sleep 60"], ENVIRONMENT)
    os.kill(int(wait_for(tmp_path / "own")), signal.SIGKILL)
    assert asyncio.run(child.wait()) == 128 + signal.SIGKILL


def test_stop_ends_what_does_not_listen_and_its_children(child: Child, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; sleep 60 & echo $! > below; while true; do sleep 0.05; done"
    child.start(["sh", "-c", stubborn], ENVIRONMENT)
    wait_for(tmp_path / "below")
    Child(tmp_path).stop(0.2)  # another server's, which knows the pid from the file
    assert not child.running


def test_last_words_skip_empty_lines_and_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\nbar 10 %\rbar 100 %\n\n  \n")
    assert Child(tmp_path).last_words() == "bar 100 %"
