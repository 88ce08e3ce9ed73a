"""How far a job is: a bar for people, and lines of JSON for programs, in ``progress.jsonl`` of its folder.

A line is ``{"phase", "done", "total", "images_per_s", "eta_s"}``; the last whole line is the latest. ``done`` and
``total`` count pictures over all phases, those of earlier runs and of other processes included; ``images_per_s`` counts
what this run has done of this phase, in all processes, and ``eta_s`` is null while another phase is to come, whose
speed nobody knows.
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
        folder: of the job; None in a process that has nothing to tell.
        phase: what is being done.
        total: pictures of this phase.
        before: pictures of the phases before it.
        to_come: pictures of the phases after it.
        kept: pictures of this phase that an earlier run has done; no speed is made of them.
        elsewhere: says how many of this phase's pictures other processes have done since it began.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        folder: Path | None,
        phase: str,
        total: int,
        *,
        before: int = 0,
        to_come: int = 0,
        kept: int = 0,
        elsewhere: Callable[[], int] = int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = None if folder is None else folder / FILE
        self._phase = phase
        self._total = total
        self._before = before
        self._to_come = to_come
        self._kept = kept
        self._elsewhere = elsewhere
        self._clock = clock
        self._done = 0
        self._started = self._written = clock()
        self._bar = tqdm(total=total, initial=kept, desc=phase, unit="img", disable=folder is None)

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._bar.close()

    def update(self, count: int = 0) -> None:
        """So many pictures more are done here."""
        self._done += count
        if self._clock() - self._written >= EVERY_S:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = self._clock()
        spent = self._written - self._started
        done = self._done + self._elsewhere()
        rate = done / spent if done and spent > 0 else None
        known = rate is not None and not self._to_come
        line = {
            "phase": self._phase,
            "done": self._before + self._kept + done,
            "total": self._before + self._total + self._to_come,
            "images_per_s": rate,
            "eta_s": (self._total - self._kept - done) / rate if known and rate else None,
        }
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._bar.update(self._kept + done - self._bar.n)
