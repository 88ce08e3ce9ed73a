"""``python -m eval.downstream PRESET comparison=DIR data.path=DIR data.validation=DIR out=DIR``.

Exit status: 0 if all is measured, 1 if a member failed (the others are in the table), 2 if the job cannot run as asked.
"""

import logging
import shlex
import sys
from collections.abc import Sequence

from eval.downstream import tables
from eval.downstream.running import run
from eval.downstream.settings import PRESETS, DownstreamConfig
from tokenizer.core.config import from_cli, refusals


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = from_cli(DownstreamConfig, "eval.downstream", PRESETS, arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with refusals("eval.downstream"):
        report = run(config, f"python -m eval.downstream {shlex.join(arguments)}")
    sys.stdout.write(f"{tables.summary(report)}{config.out / 'report.html'}\n")
    if any(row.status == "failed" for row in report.members):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
