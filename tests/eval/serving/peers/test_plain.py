"""The plain handler answers what the work makes."""

from pathlib import Path

from starlette.testclient import TestClient

from eval.serving.bodies import npy, picture
from eval.serving.peers.plain import create_app
from eval.serving.work import Work, WorkConfig


def test_it_answers_what_the_work_makes(tokenizer_folder: Path) -> None:
    work = Work(
        WorkConfig.parse({"operation": "reconstruct", "tokenizer": tokenizer_folder, "output": "npy"})
    )
    body = npy(picture(16, 16, 0))
    with TestClient(create_app(work)) as client:
        reply = client.post("/", content=body)
    assert reply.content == work.run([body])[0]
    assert reply.headers["content-type"] == "application/x-npy"
