"""Servers as processes of their own: started on a free port, waited for, measured, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from eval.errors import EvaluationError
from eval.serving.bare import BarePlan, BareReport
from eval.serving.cores import pinned
from eval.serving.load import Plan, Sample
from eval.serving.memory import resident_bytes

if TYPE_CHECKING:
    from eval.serving.cores import Cores
    from eval.serving.load import Asked

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
START_S = 300.0
END_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be started.

    Attributes:
        name: in the report.
        command: after ``python``, with ``{port}`` where the port belongs.
        environment: further variables; a value may hold ``{port}``.
        target: where requests go, before their query.
        first: a request that it answers with 200 once it is ready.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    target: str
    first: Asked


class Running:
    """A started server, as a context: ready inside, gone after.

    Args:
        server: which.
        cores: where it may run.
        log: file for what it writes.
    """

    def __init__(self, server: Server, cores: Cores, log: Path) -> None:
        self.server = server
        self.port = free_port()
        self._cores = cores
        self._log = log

    def __enter__(self) -> Self:
        fill = {"port": str(self.port)}
        given = {name: value.format(**fill) for name, value in self.server.environment.items()}
        command = [part.replace("{port}", str(self.port)) for part in self.server.command]
        with self._log.open("wb") as log, pinned(self._cores.server):
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=_environment(self._cores) | given,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that all that it starts can be ended with it
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):  # what it left behind, of this session alone
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, asked: Asked, timeout_s: float = 60.0) -> tuple[int, dict[str, str], bytes]:
        """One request: status, headers in lower case, body; status 0 where nobody answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            body = Path(asked.body).read_bytes() if asked.body else None
            connection.request(asked.method, asked.target, body, asked.headers)
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    def load(self, plan: Plan) -> list[Sample]:
        """Carry a load out on this server, from a process of its own."""
        return self.start_load(plan).samples()

    def start_load(self, plan: Plan) -> Loading:
        """Begin a load and return at once."""
        cores = None if self._cores.client is None else list(self._cores.client)
        return Loading(replace(plan, host=HOST, port=self.port, cores=cores))

    def resident_bytes(self) -> int | None:
        """Memory of all its processes."""
        return resident_bytes(self.process.pid)

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            status, _, body = self.ask(self.server.first)
            if status == 200:
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EvaluationError(
                    f"{self.server.name} does not start (status {status} {body[:200]!r}):\n{self.last_words()}"
                )
            time.sleep(0.25)


class Loading:
    """A load that goes on in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        self._limit_s = plan.seconds + plan.drain_s + 120
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eval.serving.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None  # a pipe
        self._process.stdin.write(json.dumps(asdict(plan)))
        self._process.stdin.close()
        self._process.stdin = None

    def samples(self) -> list[Sample]:
        """Wait for its end.

        Raises:
            EvaluationError: it failed.
        """
        out, _ = self._process.communicate(timeout=self._limit_s)
        if self._process.returncode:
            raise EvaluationError(f"the load generator ended with {self._process.returncode}: see above")
        return [Sample(*row) for row in json.loads(out)]


def run_bare(plans: Sequence[BarePlan], cores: Cores) -> list[BareReport]:
    """The bare loop in a process of its own, one report a plan.

    Raises:
        EvaluationError: it failed.
    """
    with pinned(cores.server):
        done = subprocess.run(
            [sys.executable, "-m", "eval.serving.bare"],
            cwd=ROOT,
            env=_environment(cores),
            input=json.dumps([plan.model_dump(mode="json") for plan in plans]),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise EvaluationError(f"the bare loop failed:\n{done.stderr[-2000:]}")
    return [BareReport.parse(facts) for facts in json.loads(done.stdout)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def write_body(folder: Path, name: str, body: bytes) -> str:
    """Keep a request's body in a file; its path."""
    path = folder / name
    path.write_bytes(body)
    return str(path)


def _environment(cores: Cores) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    return inherited | {
        "OMP_NUM_THREADS": str(cores.threads),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
