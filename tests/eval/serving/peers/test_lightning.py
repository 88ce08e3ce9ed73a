"""LitServe answers what the work makes, from its own process."""

from pathlib import Path

import pytest

from eval.serving import servers
from eval.serving.bodies import npy, picture
from eval.serving.cores import split
from eval.serving.load import Asked
from eval.serving.processes import Running, write_body
from eval.serving.work import Work, WorkConfig

pytest.importorskip("litserve", reason="litserve is not installed: pip install '.[peers]'")


@pytest.mark.slow
def test_it_answers_what_the_work_makes(tokenizer_folder: Path, tmp_path: Path) -> None:
    config = WorkConfig.parse({"operation": "reconstruct", "tokenizer": tokenizer_folder, "output": "npy"})
    body = npy(picture(16, 16, 0))
    asked = Asked("", write_body(tmp_path, "body", body), {"content-type": "application/octet-stream"})
    server = servers.peer("litserve", config, asked, tmp_path)
    with Running(server, split((0, 1)), tmp_path / "log") as running:
        status, headers, answer = running.ask(server.first)
    assert (status, answer) == (200, Work(config).run([body])[0])
    assert headers["content-type"] == "application/x-npy"
