"""``python -m eval.compare PRESET data.path=DIR data.validation=DIR out=DIR``.

Exit status: 0 if all is measured, 1 if a member failed (the others are in the table), 2 if the comparison cannot
run as asked.
"""

import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from eval.compare import tables
from eval.compare.running import run
from eval.compare.settings import PRESETS, CompareConfig
from tokenizer.core.config import from_cli, refusals


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = from_cli(CompareConfig, "eval.compare", PRESETS, arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    before = signal.signal(signal.SIGTERM, _stop)  # so that a trainer is ended with us
    try:
        with refusals("eval.compare"):
            comparison = run(config, f"python -m eval.compare {shlex.join(arguments)}")
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.stdout.write(f"{tables.summary(comparison)}{config.out / 'report.html'}\n")
    if any(row.status == "failed" for row in comparison.members):
        raise SystemExit(1)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
