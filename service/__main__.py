"""``python -m service``: read the settings, start HTTP and the worker, end cleanly on SIGTERM and Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.settings import Settings


def main() -> int:
    """The exit code: 0 after a clean end, 1 if the worker cannot start, 2 for wrong settings."""
    problems: list[str] = []

    def on_fatal(reason: str) -> None:
        problems.append(reason)
        server.should_exit = True

    def on_signal(*_: object) -> None:
        server.should_exit = True

    try:
        settings = Settings()
        app = create_app(settings, on_fatal)
    except ValidationError as error:
        for item in error.errors():
            where = f"TESSERA_{str(item['loc'][0]).upper()}: " if item["loc"] else ""
            sys.stderr.write(f"service: {where}{str(item['msg']).removeprefix('Value error, ')}\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"service: {error}\n")
        return 2
    logging.getLogger("uvicorn.access").addFilter(lambda record: "/health/" not in record.getMessage())
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s: %(message)s")
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level=settings.log_level,
            timeout_graceful_shutdown=int(settings.drain_timeout_s) + 1,
            server_header=False,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains under handlers of its own, then raises the signal again: these make that a clean end.
        signal.signal(number, on_signal)
    server.run()
    for reason in problems:
        sys.stderr.write(f"service: {reason}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
