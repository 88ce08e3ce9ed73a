"""``python -m service``: read the settings, start HTTP and the worker, drain and end cleanly on SIGTERM and Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import uvicorn
from pydantic import ValidationError

from service import logs
from service.app import create_app
from service.settings import Settings

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from fastapi import FastAPI

    from service.state import Service

# After draining only answers that were still being sent are left.
LAST_WORDS_S = 2


class DrainingServer(uvicorn.Server):
    """uvicorn, which first lets the service drain: it still listens, says that it is not ready, and refuses work.

    Args:
        config: of uvicorn.
        service: what drains.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, and remember the loop that signals must reach and, for jobs, the port that there is."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._service.jobs is not None and self.started:
            self._service.jobs.listens_on(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end now. Nothing is raised again afterwards, as the end is a clean one."""
        if self._loop is None or self._service.drain.begun:
            self.should_exit = self.force_exit = True
            return
        self._service.drain.begin()
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = asyncio.get_running_loop().create_task(self._finish())

    async def _finish(self) -> None:
        settings = self._service.settings
        await self._service.drain.finish(settings.drain_timeout_s, settings.drain_delay_s)
        self.should_exit = True


def main() -> int:
    """The exit code: 0 after a clean end, 1 if the worker cannot start, 2 for wrong settings."""
    problems: list[str] = []

    def on_fatal(reason: str) -> None:
        problems.append(reason)
        server.should_exit = True

    try:
        settings = Settings()
        logs.configure(settings.log_level, settings.log_format)
        app = create_app(settings, on_fatal)
    except ValidationError as error:
        for item in error.errors():
            where = f"TESSERA_{str(item['loc'][0]).upper()}: " if item["loc"] else ""
            sys.stderr.write(f"service: {where}{str(item['msg']).removeprefix('Value error, ')}\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"service: {error}\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        # Before and after uvicorn has handlers of its own; its process is about to end by itself then.
        signal.signal(number, lambda *_: None)
    server = _server(app, settings)
    server.run()
    for reason in problems:
        sys.stderr.write(f"service: {reason}\n")
    return 1 if problems else 0


def _server(app: FastAPI, settings: Settings) -> DrainingServer:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # logs.py has them all
        access_log=False,  # access.py writes them
        timeout_graceful_shutdown=LAST_WORDS_S,
        server_header=False,
    )
    return DrainingServer(config, app.state.service)


if __name__ == "__main__":
    sys.exit(main())
