"""``python -m service.cli COMMAND``: read the arguments, carry the command out, tell what failed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from service.cli.arguments import build
from service.cli.files import Usage
from service.client import FAILURES, Client, Options, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED: tuple[type[Exception], ...] = (*FAILURES, OSError, ValueError)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 if something failed, 2 if it cannot be done as asked, 130 after Ctrl-C."""
    asked = build().parse_args(argv)
    try:
        retry = Retry(retries=max(0, asked.retries), deadline_s=asked.timeout)
        with Client(asked.url, retry=retry, options=Options(priority=asked.priority)) as client:
            code: int = asked.run(client, asked)
            return code
    except Usage as error:
        sys.stderr.write(f"{asked.command}: {error}\n")
        return 2
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except REFUSED as error:
        sys.stderr.write(f"{asked.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{asked.command}: interrupted; the same command goes on where it was\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
