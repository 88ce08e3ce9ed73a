"""``python -m eval.fuzz count=100000 seed=0``: hostile inputs for every format, in process and against a server."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from eval.errors import EvaluationError
from eval.fuzz import running, server
from eval.fuzz.corpus import KINDS, Kind
from eval.fuzz.samples import sample
from tokenizer.core.config import Config, from_cli


class FuzzConfig(Config):
    """Inputs ``first`` to ``first + count - 1`` of a seed; the same number is always the same input."""

    count: int = Field(default=100_000, ge=0, description="inputs for the parsers, in process")
    seed: int = 0
    first: int = Field(default=0, ge=0, description="with count=1, the input that a run has named")
    kinds: tuple[Kind, ...] = KINDS
    share: float = Field(default=0.02, ge=0, le=1, description="of count, sent to a server besides")
    url: str | None = Field(default=None, description="of a running server; one is started without it")
    models: str = Field(default="", description="as TESSERA_MODELS, for the server that is started")
    hang_s: float = Field(default=10.0, gt=0)
    growth_mib: float = Field(default=16.0, description="memory may grow by so much after warm-up")
    peak_mib: float = Field(default=256.0, description="and stand so far above its start")
    server_growth_mib: float = Field(
        default=64.0, description="of each process of the server, second half of its run"
    )
    out: Path = Field(default=Path("runs/fuzz"), description="where offending inputs are kept")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 if every input was read or refused, 1 if not."""
    config = from_cli(FuzzConfig, "eval.fuzz", None, argv)
    sys.stdout.write(f"seed {config.seed}, inputs {config.first} to {config.first + config.count - 1}\n")
    problems = _in_process(config) if config.count else []
    share = round(config.count * config.share)
    if share and not problems:
        try:
            problems = _over_http(config, share)
        except EvaluationError as error:
            problems = [str(error)]
    for problem in problems:
        sys.stdout.write(f"FAILED: {problem}\n")
    return 1 if problems else 0


def _in_process(config: FuzzConfig) -> list[str]:
    plan = running.Plan(
        seed=config.seed,
        first=config.first,
        count=config.count,
        kinds=config.kinds,
        hang_s=config.hang_s,
        growth_mib=config.growth_mib,
        peak_mib=config.peak_mib,
    )
    report = running.run(plan, show=print_now)
    problems = report.problems(plan)
    if report.found is not None:
        given = sample(config.seed, report.found.index, config.kinds)
        path = running.save(given, config.out, config.seed, report.found.what)
        sys.stdout.write(f"{report.found.trace}kept in {path}\n")
    _show(report.outcomes)
    first, last = (report.memory_mib or [0.0])[0], (report.memory_mib or [0.0])[-1]
    sys.stdout.write(
        f"{sum(report.outcomes.values())} inputs in {report.seconds:.0f} s; memory {first:.1f} MiB at first, "
        f"{last:.1f} at last, growth after warm-up {report.growth_mib:+.1f}, peak {report.peak_mib:+.1f}\n"
    )
    return problems


def _over_http(config: FuzzConfig, count: int) -> list[str]:
    if config.url is not None:
        told = server.attack(config.url, config.seed, count)
    else:
        with server.started(config.models) as url:
            told = server.attack(url, config.seed, count)
    _show(Counter({(kind, str(status)): number for (kind, status), number in told.answers.items()}))
    memory = json.dumps([{name: round(value, 1) for name, value in now.items()} for now in told.memory_mib])
    sys.stdout.write(f"{sum(told.answers.values())} inputs answered by the server; memory in MiB {memory}\n")
    problems = []
    if told.found is not None:
        given, what = told.found
        path = running.save(given, config.out / "server", config.seed, what)
        problems.append(f"input {given.index} to the server: {what}; kept in {path}")
    *_, half, end = told.memory_mib if len(told.memory_mib) > 2 else [{}, {}]
    for name in half:
        if end.get(name, 0.0) - half[name] > config.server_growth_mib:
            problems.append(f"the {name} process grew by {end[name] - half[name]:.1f} MiB")
    return problems


def _show(outcomes: Counter[tuple[str, str]]) -> None:
    for kind in KINDS:
        counts = {what: number for (name, what), number in sorted(outcomes.items()) if name == kind}
        told = ", ".join(f"{what} {number}" for what, number in counts.items())
        if told:
            sys.stdout.write(f"  {kind:12} {told}\n")


def print_now(line: str) -> None:
    """A line that is seen at once, also through a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
