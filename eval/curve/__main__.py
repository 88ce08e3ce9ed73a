"""``python -m eval.curve [PRESET] comparison=DIR out=DIR``, DIR the ``out`` of an ``eval.compare`` that has run.

Exit status: 0 if all is measured, 1 if a member failed (the others are on the page), 2 if the job cannot run as asked.
"""

import logging
import shlex
import sys
from collections.abc import Sequence

from eval.curve import tables
from eval.curve.running import run
from eval.curve.settings import PRESETS, CurveConfig
from tokenizer.core.config import from_cli, refusals


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = from_cli(CurveConfig, "eval.curve", PRESETS, arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with refusals("eval.curve"):
        report = run(config, f"python -m eval.curve {shlex.join(arguments)}")
    sys.stdout.write(f"{tables.summary(report)}{config.out / 'report.html'}\n")
    if any(row.why for row in report.members):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
