"""A job inside the worker: what the stages have made of it so far, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.engine.messages import Job
    from service.engine.operations.base import Operation


@dataclass(slots=True, eq=False)
class Task:
    """A job on its way through before, core and after.

    Attributes:
        job: what was asked.
        operation: does it.
        payload: what ``before`` made, then what the steps of generation made.
        result: what ``core`` made.
        batch_size: jobs in its pass; of several passes, the most.
        bucket: of its passes.
        decode_bucket: with generation, of the pass that decoded it.
        core_seconds: its share of the network's time.
        tiled: it went through in tiles because memory was short.
        cancelled: nobody waits for it any more; set by one thread, read by the others.
        previewing: a preview of it is being made.
        marks: ``time.monotonic()`` of the stages' starts and ends.
    """

    job: Job
    operation: Operation[Any, Any]  # each operation knows its own payload
    payload: Any = None
    result: Any = None
    batch_size: int = 1
    bucket: int | None = None
    decode_bucket: int | None = None
    core_seconds: float = 0.0
    tiled: bool = False
    cancelled: bool = False
    previewing: bool = False
    marks: dict[str, float] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        """Its deadline has passed."""
        return self.job.deadline is not None and time.monotonic() > self.job.deadline

    @property
    def gone(self) -> bool:
        """No work should be done for it any more."""
        return self.cancelled or self.late

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage; waiting for a stage counts as queue."""
        spent = {
            stage: 1000 * (self.marks[f"{stage}_end"] - self.marks[f"{stage}_start"])
            for stage in ("before", "core", "after")
        }
        total = 1000 * (self.marks["after_end"] - self.job.submitted_at)
        return {"queue": max(0.0, total - sum(spent.values())), **spent}
