"""``python -m eval.serving [PRESET] [key=value ...]``: measure the service, part by part, and write the report."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from eval import machine
from eval.errors import EvaluationError
from eval.report import write_text
from eval.serving.page import render
from eval.serving.parts import MEASURES
from eval.serving.record import PartRecord, ServingReport, read_part, save
from eval.serving.session import Session
from eval.serving.settings import PARTS, PRESETS, ServingConfig
from eval.serving.tables import markdown
from tokenizer.core.config import from_cli, refusals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from eval.serving.settings import Part


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ServingConfig, "eval.serving", PRESETS, argv)
    command = " ".join(["python -m eval.serving", *map(shlex.quote, sys.argv[1:] if argv is None else argv)])
    with refusals("eval.serving", EvaluationError):
        report = run(config, command)
    sys.stdout.write(markdown(report))


def run(config: ServingConfig, command: str) -> ServingReport:
    """Measure what is missing, write all that there is.

    Raises:
        EvaluationError: a model does not load, a server does not start.
    """
    session = Session.open(config)
    folder = config.out / "parts"
    folder.mkdir(exist_ok=True)
    wanted = [part for part in PARTS if part in config.parts and _is_due(part, config, folder)]
    with tqdm(wanted, desc="serving", unit="part") as bar:
        for part in bar:
            bar.set_postfix_str(part)
            save(_measured(part, session), folder / f"{part}.json")
    report = collect(config, command, session)
    save(report, config.out / "report.json")
    write_text(config.out / "report.md", markdown(report))
    write_text(config.out / "report.html", render(report))
    return report


def collect(config: ServingConfig, command: str, session: Session) -> ServingReport:
    """All parts that were measured, now or before."""
    found = [read_part(config.out / "parts" / f"{part}.json") for part in PARTS]
    return ServingReport(
        command=command,
        cores=session.cores.sentence(),
        machine=machine.describe(torch.device(session.device)),
        commit=machine.commit(),
        parts=tuple(part for part in found if part is not None),
    )


def _is_due(part: Part, config: ServingConfig, folder: Path) -> bool:
    if config.only:
        return part in config.only
    before = read_part(folder / f"{part}.json")
    return before is None or before.settings != config.fingerprint()


def _measured(part: Part, session: Session) -> PartRecord:
    start = time.monotonic()
    tables, claims = MEASURES[part](session)
    return PartRecord(
        part=part,
        settings=session.config.fingerprint(),
        commit=machine.commit(),
        spent_s=time.monotonic() - start,
        tables=tuple(tables),
        claims=tuple(claims),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that run end with this process
    main()
