"""Work on a set in shards: partial results on disk, so that a job goes on where it was killed, in any number of
processes.

``out/parts/NAME-KEY/`` holds one file a shard, see ``tokenizer.core.parts``; KEY is the sha256 of all that the results
depend on (the target's weights, the protocol, the pictures, how they are batched), written out in ``job.json``. Shards
are runs of the numbers 0 to N - 1. What a shard holds depends on its numbers alone, and shards are read back in their
order, so the numbers of a report are the same whoever made them and however often it was interrupted.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eval import processes
from eval.errors import EvaluationError
from eval.progress import Progress
from eval.rows import pack_json, unpack_json
from tokenizer.core import locks
from tokenizer.core.parts import Parts, spans, write_whole

logger = logging.getLogger(__name__)

PARTS = "parts"
JOB = "job.json"
LOCK = "run.lock"
CLOSED = "closed"
KEYS, NOTES = "keys", "notes"


@dataclass(frozen=True, slots=True)
class Shard:
    """What came of a run of pictures or samples.

    Attributes:
        keys: their numbers, rising.
        tensors: results by name.
        skipped: sentences on the numbers that are missing.
        notes: whatever else, as plain data.
    """

    keys: Sequence[int]
    tensors: Mapping[str, Tensor]
    skipped: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)  # JSON

    def check(self, span: range) -> None:
        """RuntimeError unless every number of the run is there once, or is one of the skipped."""
        keys = list(self.keys)
        once = len(set(keys)) == len(keys) and set(keys) <= set(span)
        if not once or len(keys) + len(self.skipped) != len(span):
            raise RuntimeError(
                f"pictures {span.start} to {span.stop - 1}: {len(keys)} were measured and {len(self.skipped)} "
                f"skipped, {len(span)} there are; this is a fault of the evaluation"
            )


class Shards:
    """The shards of one piece of work of a job.

    Args:
        out: folder of the job.
        name: of the work.
        depends: JSON; all that the results depend on.
        total: pictures or samples.
        size: of them in a shard.
    """

    def __init__(self, out: Path, name: str, depends: Mapping[str, Any], total: int, size: int) -> None:
        self.spans = spans(total, size)
        self._out = out
        self._name = name
        self._text = json.dumps({**depends, "total": total, "shard_images": size}, indent=1, sort_keys=True)
        self.total = total
        self.key = hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self.folder = out / PARTS / f"{name}-{self.key}"
        self._parts = Parts(self.folder, {"job": self.key})
        self._left: list[int] = []

    def begin(self) -> list[int]:
        """The shards that this process is to make; all processes call it together."""
        whole = [True] * len(self.spans)
        if processes.is_first():
            self._tell_what_differs()
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / JOB, lambda file: file.write_text(self._text + "\n", encoding="utf-8"))
            whole = [self.is_closed or self._parts.is_whole(index) for index in range(len(self.spans))]
        self._left = [index for index, there in enumerate(processes.agreed(whole)) if not there]
        return processes.share(self._left)

    def progress(self, *, before: int = 0, to_come: int = 0) -> Progress:
        """How far all processes are, told by the first."""
        own = set(processes.share(self._left))
        others = [index for index in self._left if index not in own]

        def elsewhere() -> int:
            return sum(len(self.spans[index]) for index in others if self._parts.path(index).is_file())

        return Progress(
            self._out if processes.is_first() else None,
            self._name,
            self.total,
            before=before,
            to_come=to_come,
            kept=self.total - sum(len(self.spans[index]) for index in self._left),
            elsewhere=elsewhere,
        )

    def save(self, index: int, shard: Shard) -> None:
        """Keep a shard.

        Raises:
            RuntimeError: if a number is missing or there twice.
        """
        shard.check(self.spans[index])
        notes = {"skipped": list(shard.skipped), "notes": dict(shard.notes)}
        keys = torch.tensor(list(shard.keys), dtype=torch.int64)
        self._parts.save(index, {**shard.tensors, KEYS: keys, NOTES: pack_json(notes)})

    def finish(self, bar: Progress) -> None:
        """Wait until all processes have made their shards."""
        processes.wait(bar.update)

    def load(self, index: int) -> Shard:
        """A shard.

        Raises:
            EvaluationError: if it is gone or damaged.
            RuntimeError: as ``save``.
        """
        tensors = self._parts.load(index)
        if tensors is None:
            raise EvaluationError(f"{self._parts.path(index)} is gone or damaged: run the command again")
        notes = unpack_json(tensors.pop(NOTES))
        shard = Shard(tensors.pop(KEYS).tolist(), tensors, notes["skipped"], notes["notes"])
        shard.check(self.spans[index])
        return shard

    def __iter__(self) -> Iterator[Shard]:
        """All shards in their order."""
        for index in range(len(self.spans)):
            yield self.load(index)

    @property
    def is_closed(self) -> bool:
        """Whether the work is done and only its mark is left."""
        return (self.folder / CLOSED).is_file()

    def close(self) -> None:
        """Keep a mark in place of the results, so that the work is not begun again before ``remove``."""
        write_whole(self.folder / CLOSED, lambda file: file.touch())
        for index in range(len(self.spans)):
            self._parts.path(index).unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget everything: the numbers are in the report now."""
        shutil.rmtree(self.folder)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _tell_what_differs(self) -> None:
        """Warn of unfinished work of this name under other settings, which stays where it is."""
        for file in sorted((self._out / PARTS).glob(f"{self._name}-*/{JOB}")):
            if file.parent != self.folder:
                before, now = json.loads(file.read_text()), json.loads(self._text)
                differs = sorted(name for name in before.keys() | now if before.get(name) != now.get(name))
                logger.warning(
                    "%s is unfinished under another %s, and is not gone on with", file.parent, differs
                )


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Hold the lock of a job's folder, which is made; however the process ends, the lock ends with it.

    Raises:
        EvaluationError: another run has it.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not processes.is_first():
        yield
        return
    held = locks.take(out / LOCK)
    if held is None:
        raise EvaluationError(
            f"out={out}: another run works in it; wait until it ends, or give another out=FOLDER"
        )
    try:
        yield
    finally:
        locks.release(held)
