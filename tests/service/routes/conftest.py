"""A server with room for one request, whose worker a test can keep busy."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
import torch

import tokenizer
from tests.service.conftest import Server
from tokenizer.model import Tokenizer

BUSY = {"label": 0, "num_images": 8, "num_steps": 250, "output": "latent"}
Busy = Callable[[Server], AbstractContextManager[None]]


@pytest.fixture
def busy() -> Busy:
    """Keep a server's network at work with one long generation, and see it answered."""

    @contextmanager
    def keep(server: Server) -> Iterator[None]:
        answers: list[httpx.Response] = []

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=120) as client:
                answers.append(client.post("/v1/generate", json=BUSY))

        asking = threading.Thread(target=ask)
        asking.start()
        yield
        asking.join()
        assert answers[0].status_code == 200, answers[0].text

    return keep


@pytest.fixture(scope="module")
def no_proxy() -> Iterator[None]:
    """Clients that heed the environment would ask its proxy for this machine's own address."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "*")
        yield


@pytest.fixture(scope="session")
def tokenizers(models: dict[str, Path]) -> dict[str, Tokenizer]:
    """The served tokenizers in this process, to compare with."""
    return {
        name: tokenizer.load(str(models[name]), device="cpu", dtype=torch.float32)
        for name in ("tiny", "codes")
    }
