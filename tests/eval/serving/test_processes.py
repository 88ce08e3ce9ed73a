"""Servers as processes: started, asked, loaded and ended; those that cannot start say why."""

import os
import sys
from pathlib import Path

import pytest

from eval.errors import EvaluationError
from eval.serving.bare import BarePlan
from eval.serving.cores import split
from eval.serving.load import Asked, Plan
from eval.serving.processes import Running, Server, free_port, run_bare, write_body
from eval.serving.session import Session

CORES = split((0, 1))
ANSWER = """
import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        body += os.environ["EXTRA"].encode() + os.environ["OMP_NUM_THREADS"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def server(code: str, first: Asked) -> Server:
    return Server("test", ("-c", code, "{port}"), {"EXTRA": "at {port} "}, "/", first)


def test_a_server_is_ready_inside_and_gone_after(tmp_path: Path) -> None:
    first = Asked("/", write_body(tmp_path, "body", b"hello "))
    with Running(server(ANSWER, first), CORES, tmp_path / "log") as running:
        status, headers, body = running.ask(first)
        assert (status, body) == (200, f"hello at {running.port} 1".encode())
        assert headers["content-length"] == str(len(body))
        samples = running.load(Plan("", 0, [first], "closed", connections=2, seconds=0.1))
        assert {sample.status for sample in samples} == {200}
        assert running.resident_bytes() is None or running.resident_bytes() > 2**20  # type: ignore[operator]  # told
    assert running.process.returncode is not None
    assert running.ask(first)[0] == 0


def test_one_that_ends_at_once_tells_its_last_words(tmp_path: Path) -> None:
    broken = server("import sys; sys.exit('no such model')", Asked("/"))
    with pytest.raises(EvaluationError, match="no such model"), Running(broken, CORES, tmp_path / "log"):
        pass


def test_the_bare_loop_in_its_process(session: Session) -> None:
    work = session.work("encode")
    plan = session.bare_plan(work, session.requests(work, side=64), calls=2, batches=False)
    (report,) = run_bare([plan], CORES)
    assert len(report.latencies_s) == 2
    wrong = BarePlan.parse(plan.model_dump() | {"bodies": ["missing"]})
    with pytest.raises(EvaluationError, match="missing"):
        run_bare([wrong], CORES)


def test_free_ports_are_ports() -> None:
    assert 0 < free_port() < 65536


def test_no_setting_of_this_environment_reaches_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_PORT", "1")
    code = "import os, sys; sys.exit('TESSERA_PORT' in os.environ and 'leaked' or 'clean')"
    with (
        pytest.raises(EvaluationError, match="clean"),
        Running(server(code, Asked("/")), CORES, tmp_path / "log"),
    ):
        pass
    assert os.environ["TESSERA_PORT"] == "1"
    assert sys.executable
