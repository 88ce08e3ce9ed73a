"""How far a job is: a bar for people, and lines of JSON for programs, in ``progress.jsonl`` of its folder.

A line is ``{"phase", "done", "total", "images_per_s", "eta_s"}``; the last whole line is the latest. ``done`` and
``total`` count pictures over all phases, ``images_per_s`` those of this phase, and ``eta_s`` is null while another
phase is to come, whose speed nobody knows.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tqdm import tqdm

FILE = "progress.jsonl"
EVERY_S = 0.5


class Progress:
    """One phase of a job, as a context.

    Args:
        folder: of the job.
        phase: what is being done.
        total: pictures of this phase.
        before: pictures of the phases before it.
        to_come: pictures of the phases after it.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        folder: Path,
        phase: str,
        total: int,
        *,
        before: int = 0,
        to_come: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = folder / FILE
        self._phase = phase
        self._total = total
        self._before = before
        self._to_come = to_come
        self._clock = clock
        self._done = 0
        self._started = self._written = clock()
        self._bar = tqdm(total=total, desc=phase, unit="img")

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._bar.close()

    def update(self, count: int) -> None:
        """So many pictures more are done."""
        self._done += count
        self._bar.update(count)
        if self._clock() - self._written >= EVERY_S:
            self._write()

    def _write(self) -> None:
        self._written = self._clock()
        spent = self._written - self._started
        rate = self._done / spent if self._done and spent > 0 else None
        known = rate is not None and not self._to_come
        line = {
            "phase": self._phase,
            "done": self._before + self._done,
            "total": self._before + self._total + self._to_come,
            "images_per_s": rate,
            "eta_s": (self._total - self._done) / rate if known and rate else None,
        }
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
