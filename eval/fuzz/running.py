"""Reads inputs in a child process, which may crash, hang or grow; the parent sees it and knows the input.

The number of the input that is being read lies in memory that both share, so nothing has to be written before a crash
can be explained.
"""

import json
import logging
import multiprocessing
import os
import statistics
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eval.fuzz import targets
from eval.fuzz.corpus import KINDS, Body, Kind
from eval.fuzz.samples import Sample, sample

READINGS = 40  # of memory, over a run
SHOWN_EVERY = 10_000

# Reads a body of a format, or refuses it: ``ok`` or a code.
Reader = Callable[[Kind, Body], str]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which inputs are read and what is too much.

    Attributes:
        seed, first, count: inputs ``first`` to ``first + count - 1`` of ``seed``.
        kinds: formats.
        hang_s: an input that takes longer hangs: of processor time, or ten times that by the clock, as the machine
            may be busy with other things.
        growth_mib: memory may grow by so much after the first quarter of the run.
        peak_mib: and stand so far above the start at any time.
    """

    seed: int
    first: int
    count: int
    kinds: tuple[Kind, ...] = KINDS
    hang_s: float = 10.0
    growth_mib: float = 16.0
    peak_mib: float = 256.0


@dataclass(frozen=True, slots=True)
class Found:
    """An input that did what none may: what it did, and the trace if there is one."""

    index: int
    what: str
    trace: str = ""


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        outcomes: inputs by (format, ``ok`` or code of the refusal).
        memory_mib: resident memory of the child, evenly over the run; empty where it cannot be read.
        peak_mib: the most above the first of them.
        found: the input that stopped the run.
        seconds: it took.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    found: Found | None = None
    seconds: float = 0.0

    @property
    def growth_mib(self) -> float:
        """Median of the last quarter above that of the second; the first is warm-up."""
        quarter = len(self.memory_mib) // 4
        if not quarter:
            return 0.0
        return statistics.median(self.memory_mib[-quarter:]) - statistics.median(
            self.memory_mib[quarter : 2 * quarter]
        )

    def problems(self, plan: Plan) -> list[str]:
        """Sentences; none if all is well."""
        told = []
        if self.found is not None:
            told.append(f"input {self.found.index} of seed {plan.seed}: {self.found.what}")
        if self.growth_mib > plan.growth_mib:
            told.append(f"memory grew by {self.growth_mib:.1f} MiB, {plan.growth_mib:g} are allowed")
        if self.peak_mib > plan.peak_mib:
            told.append(
                f"memory stood {self.peak_mib:.1f} MiB above the start, {plan.peak_mib:g} are allowed"
            )
        return told


def run(plan: Plan, show: Callable[[str], None] = print, reader: Reader = targets.read) -> Report:
    """Read the inputs of a plan in a child process, until one of them fails.

    Args:
        plan: which.
        show: told how far it is.
        reader: what reads; a function of a module, as the child imports it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    at = context.Value("q", -1, lock=False)
    child = context.Process(target=_read_all, args=(plan, reader, at, theirs), daemon=True)
    report, began = Report(), time.monotonic()
    child.start()
    theirs.close()
    seen, watch = -1, Stopwatch(child.pid)
    while True:
        if ours.poll(0.2):
            try:
                message = ours.recv()
            except EOFError:
                child.join(10)
                what = f"the process that read it ended with exit code {child.exitcode}"
                report.found = report.found or Found(at.value, what)
                break
            if _take(report, message, show):
                break
        if at.value != seen:
            seen, watch = at.value, Stopwatch(child.pid)
        elif seen >= 0 and watch.is_over(plan.hang_s):
            report.found = Found(seen, f"it was still being read after {plan.hang_s:g} s")
            break
    child.kill()
    child.join(10)
    report.seconds = time.monotonic() - began
    return report


class Stopwatch:
    """What a process has spent since now.

    Args:
        process: its id.
    """

    def __init__(self, process: int | None) -> None:
        self._process = process
        self._clock = time.monotonic()
        self._spent = processor_s(process)

    def is_over(self, limit_s: float) -> bool:
        """Whether it has spent ``limit_s`` of processor time, or ten times that by the clock."""
        if time.monotonic() - self._clock > 10 * limit_s:
            return True
        now = processor_s(self._process)
        return now is not None and self._spent is not None and now - self._spent > limit_s


def _take(report: Report, message: object, show: Callable[[str], None]) -> bool:
    """Note what the child says; whether it is done."""
    match message:
        case Found():
            report.found = message
            return True
        case str():
            show(message)
        case float():
            report.memory_mib.append(message)
        case (Counter() as outcomes, float() as peak):
            report.outcomes = outcomes
            report.peak_mib = peak - (report.memory_mib or [peak])[0]
            return True
    return False


def _read_all(
    plan: Plan, reader: Reader, at: Any, pipe: Connection
) -> None:  # multiprocessing's shared number has no public type
    warnings.simplefilter("ignore")  # libraries warn of much that is damaged
    logging.disable()
    outcomes: Counter[tuple[str, str]] = Counter()
    peak = 0.0
    every = max(1, plan.count // READINGS)
    for index in range(plan.first, plan.first + plan.count):
        given = sample(plan.seed, index, plan.kinds)
        at.value = index
        try:
            outcomes[given.kind, reader(given.kind, given.body)] += 1
        except BaseException as error:
            what = f"{given.kind} ({', '.join(given.recipe) or 'as it is'}): {type(error).__name__}: {error}"
            pipe.send(Found(index, what[:500], traceback.format_exc()))
            return
        done = index - plan.first + 1
        if done % every == 0 and (now := resident_mib()) is not None:
            pipe.send(now)
        if done % SHOWN_EVERY == 0:
            pipe.send(f"{done} of {plan.count} inputs")
    peak = peak_mib() or 0.0
    pipe.send((outcomes, peak))


def resident_mib(process: int | str = "self") -> float | None:
    """Memory that a process holds now; None where there is no /proc."""
    return _status_mib(process, "VmRSS")


def peak_mib(process: int | str = "self") -> float | None:
    """The most that it ever held."""
    return _status_mib(process, "VmHWM")


def processor_s(process: int | None) -> float | None:
    """Processor time of a process, all of its threads; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_mib(process: int | str, name: str) -> float | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(values[0]) / 1024 if values else None


def save(given: Sample, folder: Path, seed: int, what: str) -> Path:
    """Keep an input: its bytes, and beside them what they are and did."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed{seed}-{given.index}.{given.kind}"
    path.write_bytes(given.body.data)
    facts = {
        "seed": seed,
        "index": given.index,
        "kind": given.kind,
        "recipe": given.recipe,
        "headers": given.body.headers,
        "what": what,
        "python": sys.version.split()[0],
    }
    path.with_suffix(f".{given.kind}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return path
