"""A live server over tiny random models, and pictures made here."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.model_folder import GeneratorRecord
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import spec_id_of

ROOT = Path(__file__).resolve().parents[2]
CLASS_NAMES = ("circle", "square", "star")
SIDE = 32
START_S = 280.0


# Codes of the tokenizer `codes`: 3 ** 8 of them, so that an index needs 16 bits.
FSQ = {"kind": "fsq", "levels": [3] * 8}


def make_tokenizer(
    folder: Path,
    seed: int,
    bottleneck: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    **changes: object,
) -> Path:
    """An f4c8 tokenizer with random weights; ``changes`` replace keys of its config.json."""
    config = TokenizerConfig.parse(
        {
            "backbone": backbone
            or {
                "kind": "dcae",
                "latent_channels": 8,
                "widths": [8, 8, 16],
                "encoder_depths": [1, 1, 1],
                "decoder_depths": [1, 1, 1],
                "blocks": ["res"] * 3,
                "decoder_norms": ["rms"] * 3,
                "decoder_activations": ["silu"] * 3,
            },
            "bottleneck": bottleneck or {"kind": "identity"},
        }
    )
    torch.manual_seed(seed)
    model = config.build()
    spec = model.spec.with_statistics({"z": ([0.1] * 8, [0.5] * 8)})
    settings = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "projection": {
            "weights": [[0.3, -0.2] * 4, [0.1] * 8, [-0.2, 0.3] * 4],
            "bias": [0.0] * 3,
            "explained": 0.5,
        },
        "licence": "CC0-1.0",
        "figures": {"psnr": 12.5},
        "preset": None,
    }
    checkpoint.save_folder(folder, settings | changes, {"model": model.state_dict()})
    return folder


def make_generator(folder: Path, tokenizer_folder: Path, seed: int, spec_id: str | None = None) -> Path:
    """A class-conditional DiT over that tokenizer's latents of 32x32 pixels, with random weights."""
    record = GeneratorRecord.parse(
        {
            "model": {"kind": "dit", "depth": 2, "width": 32, "heads": 2, "patch": 2},
            "generator": {"kind": "rectified_flow"},
            "spec_id": spec_id or spec_id_of(tokenizer_folder),
            "latent_shape": [8, 8, 8],
            "size": [SIDE, SIDE],
            "class_names": CLASS_NAMES,
            "preset": {"show": {"num_steps": 3, "guidance": 2.5}},
        }
    )
    torch.manual_seed(seed)
    network = record.build()
    with torch.no_grad():
        for value in network.parameters():  # adaLN-Zero starts as a network that says nothing
            value.add_(0.05 * torch.randn_like(value))
    checkpoint.save_folder(folder, record.model_dump(mode="json"), {"model": network.state_dict()})
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by name: two tokenizers, one with codes, and a generator of the first one."""
    home = tmp_path_factory.mktemp("models")
    tiny = make_tokenizer(home / "tiny", seed=1)
    other = make_tokenizer(home / "other", seed=2)
    codes = make_tokenizer(home / "codes", seed=4, bottleneck=FSQ)
    shapes = make_generator(home / "shapes", tiny, seed=3)
    return {"tiny": tiny, "other": other, "codes": codes, "shapes": shapes}


def models_setting(models: dict[str, Path]) -> str:
    """The folders as TESSERA_MODELS names them."""
    return ",".join(f"{name}={path}" for name, path in models.items())


@dataclass(slots=True)
class Server:
    """A running ``python -m service`` and a client for it."""

    process: subprocess.Popen[bytes]
    url: str
    client: httpx.Client
    log: Path

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def worker_pid(self) -> int:
        """The child of the server that runs the models."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        raise LookupError(f"no worker below {self.process.pid}")

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server is not ready:\n{self.log.read_text()}")
            time.sleep(0.1)


def environment(**settings: object) -> dict[str, str]:
    """This process's environment without settings of its own, with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    chosen = {f"TESSERA_{name.upper()}": str(value) for name, value in settings.items()}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | chosen


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start a server with these settings; all of them end with the tests."""
    running: list[Server] = []

    def start(*, wait: bool = True, **settings: object) -> Server:
        port = int(str(settings.get("port") or free_port()))
        log = tmp_path_factory.mktemp("server") / "log"
        defaults: dict[str, object] = {
            "models": models_setting(models),
            "port": port,
            "device": "cpu",
            "warmup_s": 1,  # seconds a model for finding out which batches pay
        }
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=ROOT,
                env=environment(**(defaults | settings)),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        url = f"http://127.0.0.1:{port}"
        server = Server(process, url, httpx.Client(base_url=url, timeout=120.0), log)
        running.append(server)
        if wait:
            server.wait_ready()
        return server

    yield start
    for server in running:
        server.client.close()
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()


@pytest.fixture(scope="session")
def server(start_server: StartServer, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """One server that tests share which only ask and never break it."""
    limits = {"max_body_bytes": 2**20, "max_pixels": 512 * 512, "max_images": 8}
    return start_server(state=tmp_path_factory.mktemp("state"), data=f"photos={photographs}", **limits)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, uint8 (H, W, 3)."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(6 * (rows * a + columns * b)) for a, b in generator.normal(size=(3, 2))]
    noise = generator.normal(scale=4, size=(height, width, 3))
    return np.clip(128 + 90 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def as_file(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as bytes of a format."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def as_pixels(body: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of a picture file."""
    with Image.open(io.BytesIO(body)) as image:
        return np.asarray(image.convert("RGB"))
