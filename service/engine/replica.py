"""One worker process as the engine sees it: its start, the two threads at its pipe, its end. Imports no torch.

The threads keep the pipe off the event loop; every other state belongs to the loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from service.engine.launch import WorkerHandle, spawn
from service.engine.messages import Stop
from service.engine.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.messages import ModelSource, Ready, WorkerSettings

logger = logging.getLogger(__name__)

MAX_RESTART_DELAY_S = 30.0


class Closed:
    """The pipe's last word: the worker process is gone."""


CLOSED = Closed()


class Replica:
    """A worker process on one device, and its successors when it dies.

    Args:
        number: among the workers, from 0.
        settings: its own, with one device.
        on_message: called on the loop with the replica and every message, Closed the last one of a process. Vitals
            are kept here.

    Attributes:
        status: what it said when it was ready; None while it is not.
        was_ready: whether it ever was.
        failures: ends since it was last ready.
        heard_at: ``time.monotonic()`` of its last message about work.
        pulse: when it last showed that it lives, and what it said.
    """

    def __init__(
        self, number: int, settings: WorkerSettings, on_message: Callable[[Replica, object], None]
    ) -> None:
        self.number = number
        self.status: Ready | None = None
        self.was_ready = False
        self.failures = 0
        self.heard_at = 0.0
        self.pulse: tuple[float, Vitals] | None = None
        self._settings = settings
        self._on_message = on_message
        self._handle: WorkerHandle | None = None
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()

    @property
    def pid(self) -> int | None:
        """Process id of the worker."""
        return self._handle.process.pid if self._handle else None

    async def launch(self, models: tuple[ModelSource, ...]) -> None:
        """Start a process with these models and return at once; a Ready tells when it has them."""
        loop = asyncio.get_running_loop()
        outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._outbox = outbox
        settings = self._settings and replace(self._settings, models=models)
        self._handle = handle = await asyncio.to_thread(spawn, settings)
        self.heard_at = time.monotonic()

        def deliver(message: object) -> None:
            try:
                loop.call_soon_threadsafe(self._receive, handle, message)
            except RuntimeError:  # the loop has ended, and with it everyone who waited
                logger.debug("message after the end: %s", type(message).__name__)

        for target, arguments, name in (
            (_send, (handle, outbox), "tessera-send"),
            (_receive, (handle, deliver), "tessera-receive"),
        ):
            threading.Thread(target=target, args=arguments, name=name, daemon=True).start()

    def send(self, message: object) -> None:
        """Give a message to the thread that sends."""
        self._outbox.put(message)

    def kill_if_alive(self, why: str) -> None:
        """End a process that hangs; its end is then noticed like any other."""
        if self._handle is not None and self._handle.process.is_alive():
            logger.error("worker %s %s: it is killed", self.pid, why)
            self._handle.process.kill()

    async def bury(self) -> str:
        """After Closed: let the sending thread end, reap the process, and say how it ended."""
        self.status = self.pulse = None
        self.send(CLOSED)
        if self._handle is None:
            return "never started"
        end = await asyncio.to_thread(self._handle.describe_end)
        await asyncio.to_thread(self._handle.kill)
        return end

    async def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        if self._handle is None:
            return
        self.send(Stop())
        await asyncio.to_thread(self._handle.process.join, 5)
        await asyncio.to_thread(self._handle.kill)
        self.send(CLOSED)

    def next_delay_s(self) -> float:
        """How long to wait before the next start: not at all after the first end, longer after each other."""
        delay = min(MAX_RESTART_DELAY_S, 0.5 * 2**self.failures) if self.failures else 0.0
        self.failures += 1
        return delay

    def _receive(self, handle: WorkerHandle, message: object) -> None:
        if handle is not self._handle:  # the last words of a worker that was replaced
            return
        if isinstance(message, Vitals):  # the process lives; whether its jobs get on, others tell
            self.pulse = time.monotonic(), message
            return
        self.heard_at = time.monotonic()
        self._on_message(self, message)


def _send(handle: WorkerHandle, outbox: queue.SimpleQueue[object]) -> None:
    """Ends last, when the receiving thread has seen the end, and closes the pipe."""
    while (message := outbox.get()) is not CLOSED:
        try:
            handle.connection.send(message)
        except OSError:  # the worker is gone; the receiving thread tells
            continue
        except Exception:  # a message that cannot be sent would leave its caller waiting for ever
            logger.exception("%s cannot be sent: the worker is restarted", type(message).__name__)
            handle.process.kill()
    handle.connection.close()


def _receive(handle: WorkerHandle, deliver: Callable[[object], None]) -> None:
    while True:
        try:
            message = handle.connection.recv()
        except (EOFError, OSError):
            deliver(CLOSED)
            return
        deliver(message)
