"""The worker process as the HTTP process sees it: its start and one end of the pipe. Imports no torch."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from service.engine.messages import WorkerSettings


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A running worker process and the pipe to it."""

    process: BaseProcess
    connection: Connection

    def kill(self) -> None:
        """End it now and reap it; whoever reads the pipe then sees its end."""
        self.process.kill()
        self.process.join(10)

    def describe_end(self) -> str:
        """How it ended, for people: the exit code or the signal."""
        self.process.join(10)
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def spawn(settings: WorkerSettings) -> WorkerHandle:
    """Start a worker. Spawned, not forked: CUDA and threads survive no fork."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=True)
    process = context.Process(target=run, args=(theirs, settings), name="tessera-worker", daemon=True)
    process.start()
    theirs.close()  # or the end of the worker would never be seen here
    return WorkerHandle(process, ours)


def run(connection: Connection, settings: WorkerSettings) -> None:
    """First function of the worker process; torch is imported below it."""
    from service.engine.worker import main

    main(connection, settings)
