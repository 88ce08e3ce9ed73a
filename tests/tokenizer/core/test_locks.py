"""Locks: held by whoever inherits them, free as soon as the last one ends."""

import os
import subprocess
import sys
from pathlib import Path

from tokenizer.core import locks


def test_taken_once_and_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    held = locks.take(path)
    assert held is not None
    assert locks.take(path) is None
    assert locks.is_held(path)
    locks.release(held)
    assert not locks.is_held(path)


def test_a_child_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = locks.take(path)
    assert held is not None
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(held,))
    os.close(held)
    try:
        assert locks.is_held(path)
    finally:
        child.kill()
        child.wait()
    assert not locks.is_held(path)
