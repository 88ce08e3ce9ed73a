"""Whether an evaluation survives being killed: its numbers are those of a run that was left alone, byte for byte.

``python -m eval.survival tokenizer=SOURCE data.path=DIR kills=10 out=DIR`` takes every option of ``eval.reconstruct``.
One evaluation runs undisturbed; another is ended by ``kill -9`` at random points and started again each time, now with
one process and now with two. Then both reports are compared. Times and machine are no numbers of the target.
"""

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from eval import processes, reconstruct
from eval.errors import EvaluationError
from eval.settings import ReconstructConfig
from eval.shards import PARTS
from tokenizer.core.config import from_cli, refusals

WHOLE, KILLED, LOG = "whole", "killed", "log"
NO_NUMBERS = ("images_per_s", "speed", "machine", "commit")
MOST_SHARDS_BETWEEN = 3
POLL_S = 0.002


class SurvivalConfig(ReconstructConfig):
    """Kill an evaluation at random points, start it again, and compare its numbers with an undisturbed one's."""

    out: Path = Field(description="folder for both evaluations")
    kills: int = Field(default=10, ge=1)
    kill_seed: int = Field(default=0, ge=0, description="of the points at which it is killed")
    processes: tuple[int, ...] = Field(default=(1, 2), min_length=1, description="of the starts, in turn")

    def evaluation(self, folder: str) -> ReconstructConfig:
        """The settings of one of the evaluations."""
        own = self.model_dump(include=set(ReconstructConfig.model_fields))
        return ReconstructConfig.parse(own | {"out": self.out / folder})


@dataclass(frozen=True, slots=True)
class Attempt:
    """A start that was killed: by how many processes, and how many shards lay in the folder then."""

    processes: int
    num_shards: int


def main(argv: Sequence[str] | None = None) -> None:
    """The command; exit status 1 if the numbers differ."""
    config = from_cli(SurvivalConfig, "eval.survival", reconstruct.PRESETS, argv)
    with refusals("eval.survival"):
        attempts = run(config)
    differences = compare(config.out / WHOLE, config.out / KILLED)
    for number, attempt in enumerate(attempts, start=1):
        sys.stdout.write(
            f"kill {number}: {attempt.processes} processes, {attempt.num_shards} shards were there\n"
        )
    sys.stdout.write(
        f"kill_seed={config.kill_seed}: " + ("; ".join(differences) or "the same numbers") + "\n"
    )
    raise SystemExit(1 if differences else 0)


def run(config: SurvivalConfig) -> list[Attempt]:
    """Run both evaluations; what became of the starts that were killed.

    Processes are forked from this one, which has imported everything and computed nothing.

    Raises:
        EvaluationError: if a start fails by itself, or ends before it could be killed.
    """
    for folder in (WHOLE, KILLED):
        if (config.out / folder).exists():
            raise EvaluationError(f"out={config.out} holds an earlier trial: give another folder")
        (config.out / folder).mkdir(parents=True)
    whole, killed = config.evaluation(WHOLE), config.evaluation(KILLED)
    _wait(_start(whole, 1), whole.out)
    draw = random.Random(config.kill_seed)
    attempts = []
    for number in range(config.kills):
        count = config.processes[number % len(config.processes)]
        more, share = draw.randrange(MOST_SHARDS_BETWEEN), draw.random()
        before = len(_shards(killed.out))
        begun = time.monotonic()
        running = _start(killed, count)
        while len(_shards(killed.out)) < before + more and not _ended(running[0]):
            time.sleep(POLL_S)
        time.sleep(share * (time.monotonic() - begun) / (more + 1))
        attempts.append(Attempt(count, len(_shards(killed.out))))
        alone = any(_ended(process) for process in running)
        for process in running:
            os.kill(process, signal.SIGKILL)  # one that has ended is ours until it is waited for
        for process in running:
            os.waitpid(process, 0)
        if alone:
            raise EvaluationError(
                f"it ended before kill {len(attempts)}, see {killed.out / LOG}: give more pictures or a smaller "
                "shard_images"
            )
    _wait(_start(killed, max(config.processes)), killed.out)
    return attempts


def compare(a: Path, b: Path) -> list[str]:
    """What differs between two finished evaluations: reports as text without times and machine, and scores by picture.

    Reports of further protocols, in folders below, are compared too.
    """
    names = sorted(
        str(file.relative_to(folder))
        for folder in (a, b)
        for pattern in ("report.json", "per_image.csv")
        for file in folder.rglob(pattern)
    )
    differences = []
    for name in dict.fromkeys(names):
        texts = [_numbers(folder / name) if (folder / name).is_file() else None for folder in (a, b)]
        if texts[0] != texts[1]:
            differences.append(f"{name} differs")
    if (b / PARTS).exists():
        differences.append(f"{PARTS} is left")
    return differences


def _numbers(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".json":
        return text
    tree: dict[str, Any] = json.loads(text)  # a report
    return json.dumps({name: value for name, value in tree.items() if name not in NO_NUMBERS}, indent=1)


def _shards(out: Path) -> list[Path]:
    return list((out / PARTS).glob("*/shard-*.safetensors"))


def _start(config: ReconstructConfig, count: int) -> list[int]:
    """Fork the processes of one start, told of each other as a launcher would; their numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for place in range(count):
        process = os.fork()
        if process == 0:
            _work(config, place, count, port)
        started.append(process)
    return started


def _work(config: ReconstructConfig, place: int, count: int, port: int) -> None:
    """What a forked process does; it never returns."""
    status = 1
    try:
        with (config.out / LOG).open("ab") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        told = {"RANK": place, "LOCAL_RANK": place, "WORLD_SIZE": count, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
        with processes.joined():
            reconstruct.run(config)
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _ended(process: int) -> bool:
    """Whether a process has ended; it can still be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait(running: Sequence[int], out: Path) -> None:
    """Wait for a start to end well.

    Raises:
        EvaluationError: if it does not, with its last words.
    """
    statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in running]
    if any(statuses):
        words = (out / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise EvaluationError(f"an evaluation that nobody killed ended with {statuses}: {' '.join(words)}")


if __name__ == "__main__":
    main()
