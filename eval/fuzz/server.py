"""The same kinds of harm against a running server: no answer of 500 and above, none late, none torn off.

Latents are the server's own, encoded by itself from valid pictures, and then harmed.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlencode, urlsplit

from eval.errors import EvaluationError
from eval.fuzz.corpus import KINDS, MAKERS, PICTURES, Body, Kind, picture
from eval.fuzz.samples import Sample, harm

ROUTES: dict[Kind, tuple[str, ...]] = {
    **dict.fromkeys(PICTURES, ("/v1/encode", "/v1/reconstruct?output=jpeg", "/v1/encode?format=npy")),
    "safetensors": ("/v1/decode?output=jpeg",),
    "npy": ("/v1/decode?output=npy",),
    "raw": ("/v1/decode?output=png", "/v1/remote/decode?shape=1&shape=8&shape=4&shape=4&dtype=float32"),
    "pixels": ("/v1/encode", "/v1/reconstruct?output=png"),
    "json": ("/v1/generate", "/v1/images/generations", "/v1/evaluations"),
    "form": ("/v1/encode", "/v1/images/edits"),
    "mp4": ("/v1/encode", "/v1/reconstruct"),
}
START_S = 300.0


@dataclass(slots=True)
class Told:
    """What the server answered: inputs by (format, status), memory in MiB by process before and after, the input at
    fault.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    memory_mib: list[dict[str, float]] = field(default_factory=list)
    found: tuple[Sample, str] | None = None


class Talk:
    """One connection to the server, made again when the server closes it.

    Args:
        url: ``http://host:port``.
        timeout_s: for one answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Body | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of the answer.

        Raises:
            OSError, http.client.HTTPException: no answer came.
        """
        sent = body or Body(b"")
        headers = {name: value for name, value in sent.headers.items() if _fits_a_header(value)}
        for attempt in (0, 1):
            fresh = self._connection is None
            connection = self._connection or http.client.HTTPConnection(
                *self._address, timeout=self._timeout_s
            )
            self._connection = connection
            try:
                connection.request(method, path, sent.data, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.close()
                if fresh or attempt:  # a kept connection may just have been closed by the server
                    raise
                continue
            except BaseException:
                self.close()
                raise
            if answer.will_close:
                self.close()
            return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def attack(url: str, seed: int, count: int, *, timeout_s: float = 120.0) -> Told:
    """Send ``count`` harmed inputs, one after the other, until one is answered as none may be."""
    talk, told = Talk(url, timeout_s), Told()
    own = _own_latents(talk)
    told.memory_mib.append(_memory(talk))
    for index in range(count):
        random = Random(f"server:{seed}:{index}")
        kind = KINDS[index % len(KINDS)]
        body = random.choice(own[kind]) if kind in own else MAKERS[kind](random)
        body, recipe = harm(kind, body, random)
        given = Sample(index, kind, recipe, body)
        route = random.choice(ROUTES[kind])
        try:
            status, answer, _ = talk.ask("POST", route, body)
        except (OSError, http.client.HTTPException) as error:
            told.found = given, f"{route} gave no answer: {type(error).__name__}: {error}"
            break
        told.answers[kind, status] += 1
        if status >= 500:
            told.found = given, f"{route} answered {status}: {answer[:300]!r}"
            break
        if index == count // 2:
            told.memory_mib.append(_memory(talk))
    told.memory_mib.append(_memory(talk))
    talk.close()
    return told


def _own_latents(talk: Talk) -> dict[Kind, list[Body]]:
    """Latents that this server's default tokenizer made, in every format it gives."""
    found: dict[Kind, list[Body]] = {"safetensors": [], "npy": [], "raw": []}
    for index in range(4):
        body = picture("png", Random(index))
        for kind in found:
            status, data, headers = talk.ask("POST", f"/v1/encode?{urlencode({'format': kind})}", body)
            if status != 200:
                raise EvaluationError(
                    f"/v1/encode?format={kind} answers {status} to a valid picture: {data[:200]!r}"
                )
            told = {name: value for name, value in headers.items() if name.startswith("x-tessera-")}
            found[kind].append(Body(data, told if kind != "safetensors" else {}))
    return found


def _fits_a_header(value: str) -> bool:
    try:
        return "\n" not in value and "\r" not in value and len(value.encode("latin-1")) < 8000
    except UnicodeEncodeError:
        return False


def _memory(talk: Talk) -> dict[str, float]:
    """Resident memory of the HTTP process and the worker, by its own metrics."""
    _, text, _ = talk.ask("GET", "/metrics")
    names = {
        "process_resident_memory_bytes": "http",
        "tessera_worker_process_resident_memory_bytes": "worker",
    }
    lines = [line.split() for line in text.decode().splitlines() if not line.startswith("#")]
    return {names[line[0]]: float(line[1]) / 2**20 for line in lines if line and line[0] in names}


@contextlib.contextmanager
def started(models: str) -> Iterator[str]:
    """A server of its own with small limits; its address.

    Args:
        models: as ``TESSERA_MODELS``; empty for the bundled demo.

    Raises:
        EvaluationError: it does not become ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    settings = {"PORT": port, "MODELS": models, "MAX_PIXELS": 256 * 256, "MAX_IMAGES": 2, "MAX_STEPS": 4}
    settings |= {"LOG_LEVEL": "error", "DEVICE": "cpu"}
    chosen = {f"TESSERA_{name}": str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "service"], env=kept | chosen)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        talk = Talk(url, 5.0)
        with contextlib.suppress(OSError, http.client.HTTPException):
            if talk.ask("GET", "/health/ready")[0] == 200:
                return
        talk.close()
        time.sleep(0.5)
    raise EvaluationError(f"the server at {url} is not ready: `python -m service` alone shows why")
