"""Locks on files that end with the last process that holds them, however it ends.

A lock belongs to an open file, and a child process that inherits the file holds it too: whoever finds it free knows
that a server or a run is over, also after ``kill -9``.

Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def take(path: Path) -> int | None:
    """Lock the file, made if it is not there; the descriptor that holds it, or None if another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether a process, this one or another, holds the lock."""
    if not path.exists():
        return False
    descriptor = take(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def release(descriptor: int) -> None:
    """Give up what ``take`` gave."""
    os.close(descriptor)
