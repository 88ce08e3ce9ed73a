"""Many files at once: a bar on the terminal, and what became of each."""

from __future__ import annotations

import concurrent.futures
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from service.client.errors import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.cli.files import Task

# What may go wrong with one file and leaves the others alone.
ONE_FILE: tuple[type[Exception], ...] = (*FAILURES, OSError, ValueError)


@dataclass(slots=True)
class Outcome:
    """What became of the files of a command.

    Attributes:
        done: facts of each that was made, among them ``input`` and ``output``.
        skipped: inputs whose results were there.
        failed: (input, code, sentence).
    """

    done: list[dict[str, Any]] = field(default_factory=list)  # JSON
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if anything failed."""
        return 1 if self.failed else 0

    def to_json(self) -> str:
        """For other programs."""
        failed = [{"input": name, "code": code, "message": text} for name, code, text in self.failed]
        return json.dumps({"done": self.done, "skipped": self.skipped, "failed": failed}, indent=1)


def carry_out(
    todo: Sequence[Task],
    work: Callable[[Task], dict[str, Any]],
    *,
    concurrency: int,
    overwrite: bool,
    description: str,
    quiet: bool,
) -> Outcome:
    """Do every task whose result is not there yet; one that fails stops no other.

    Args:
        todo: what is to be done.
        work: does one, in any of ``concurrency`` threads, and tells facts.
        concurrency: at once.
        overwrite: do those again whose results are there.
        description: of the bar, which is drawn where somebody looks.
        quiet: draw none.
    """
    outcome = Outcome(skipped=[task.name for task in todo if task.done and not overwrite])
    due = [task for task in todo if overwrite or not task.done]
    with (
        concurrent.futures.ThreadPoolExecutor(concurrency) as pool,
        tqdm(total=len(due), desc=description, unit="file", disable=True if quiet else None) as bar,
    ):
        futures = {pool.submit(work, task): task for task in due}
        try:
            for future in concurrent.futures.as_completed(futures):
                task = futures[future]
                try:
                    facts = future.result()
                except ONE_FILE as error:
                    outcome.failed.append(
                        (task.name, str(getattr(error, "code", type(error).__name__)), str(error))
                    )
                else:
                    target = None if task.target is None else str(task.target)
                    outcome.done.append({"input": task.name, "output": target, **facts})
                bar.update()
        except BaseException:  # Ctrl-C: what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    order = {task.name: place for place, task in enumerate(todo)}
    outcome.done.sort(key=lambda facts: order[facts["input"]])
    outcome.failed.sort(key=lambda entry: order[entry[0]])
    return outcome


def tell(outcome: Outcome, *, as_json: bool, summary: str) -> int:
    """Write what became of the files; the exit code.

    JSON and nothing else goes to standard output; failures are named on standard error in any case.
    """
    if as_json:
        sys.stdout.write(outcome.to_json() + "\n")
    elif summary:
        sys.stderr.write(summary + "\n")
    for name, _, text in outcome.failed:
        sys.stderr.write(f"{name}: {text}\n")
    return outcome.exit_code
