"""A run in another process, in a folder: started, watched, ended, and found again by the next server.

The process does not need the server that started it: a lock in the folder is held for as long as any process of the
run lives, its output goes to ``log``, and ``exit`` receives its status. So a server that was killed while a run went
on finds it still running, or ended with a status, or neither: then it was killed too, and is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from tokenizer.core import locks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOG = "log"
# Lower than anything that somebody waits for.
NICENESS = 10
POLL_S = 0.2
END_S = 10.0
# The shell leads a session of its own, so that its number is that of the process group.
SCRIPT = 'echo $$ > pid; "$@"; status=$?; echo $status > exit.new; mv exit.new exit'


class Child:
    """The run in a folder.

    Args:
        folder: where it runs; holds ``lock``, ``pid``, ``exit`` and ``log``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = folder / "lock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether any process of it lives, whoever started it."""
        held = locks.is_held(self._lock)
        if self._process is not None and not held:
            self._process.wait()  # it is about to end: nothing else gives the lock free
            self._process = None
        return held

    @property
    def status(self) -> int | None:
        """The exit status, 128 and more for a signal; None while it runs, and if it was killed with its shell."""
        path = self._folder / "exit"
        return int(path.read_text()) if path.exists() else None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; output is appended to ``log``.

        Raises:
            RuntimeError: a run in this folder lives.
        """
        held = locks.take(self._lock)
        if held is None:
            raise RuntimeError(f"a run in {self._folder} lives")
        try:
            for name in ("exit", "pid"):
                (self._folder / name).unlink(missing_ok=True)
            with (self._folder / LOG).open("ab") as log:
                self._process = subprocess.Popen(
                    ["nice", "-n", str(NICENESS), "sh", "-c", SCRIPT, "sh", *command],
                    cwd=self._folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(held,),
                    start_new_session=True,
                )
        finally:
            os.close(held)  # the run holds it now

    async def wait(self) -> int | None:
        """Wait for its end; the exit status, None if it was killed with its shell."""
        while await asyncio.to_thread(lambda: self.running):
            await asyncio.sleep(POLL_S)
        return await asyncio.to_thread(lambda: self.status)

    def stop(self, patience_s: float = END_S) -> None:
        """End it, by force if it does not listen; blocks until nothing of it lives."""
        for number, until in ((signal.SIGTERM, patience_s), (signal.SIGKILL, END_S)):
            deadline = time.monotonic() + until
            while self.running and time.monotonic() < deadline:
                self._signal(number)
                time.sleep(0.05)

    def last_words(self, limit: int = 4096) -> str:
        """The last line of the log that says something."""
        path = self._folder / LOG
        if not path.exists():
            return ""
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - limit))
            text = log.read().decode("utf-8", "replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group; while the lock is held the group lives, so its number belongs to nobody else."""
        pid = self._folder / "pid"
        text = pid.read_text().strip() if pid.exists() else ""
        leader = self._process.pid if self._process is not None else int(text or 0)
        if leader > 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, number)
