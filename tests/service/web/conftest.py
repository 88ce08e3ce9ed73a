"""A browser, a visitor who uses it, and a server in this process that answers the documented API without a model.

Its tokenizer is the mean of every 16x16 block: a true encode and decode, whose figures can be checked.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from safetensors.numpy import load, save

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",
    "--window-size=1280,900",
)
WEB = Path(__file__).resolve().parents[3] / "service" / "web"
FACTOR = 16
SPEC_ID = "0123456789abcdef"
CLASS_NAMES = ["dress", "hat", "shoes"]
# The header that the real server sends with the page.
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'"


@dataclass
class Stub:
    """What the stub server does next, and what it was asked."""

    ready: bool = True
    key: str | None = None
    full: bool = False
    away: bool = False
    generators: bool = True
    generate_error: tuple[int, str] | None = None
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    latents: list[bytes] = field(default_factory=list)
    generated: list[list[bytes]] = field(default_factory=list)
    url: str = ""

    def bodies(self, path: str) -> list[bytes]:
        """Bodies sent to ``path``, in order."""
        return [body for asked, body in self.requests if asked.split("?")[0] == path]

    def models(self) -> dict[str, Any]:
        """The answer of GET /v1/models."""
        part = {"name": "z", "layout": "2d", "channels": 3, "spatial_factor": FACTOR}
        common = {"name": "demo", "default": True, "spec_id": SPEC_ID, "licence": "CC0-1.0", "figures": None}
        tokenizer = common | {"kind": "tokenizer", "spec": {"parts": [part]}, "weights_bytes": 27_000_000}
        tokenizer["codes"] = None
        other = tokenizer | {"name": "other", "default": False}
        codes = {
            "codebook_size": 512,
            "num_codebooks": 1,
            "scales": None,
            "index_dtype": "uint16",
            "bits_per_index": 9.0,
        }
        coded = other | {"name": "coded", "codes": codes}
        generator = common | {
            "kind": "generator",
            "tokenizer": "demo",
            "class_names": CLASS_NAMES,
            "sizes": [[64, 64]],
            "num_steps": 20,
            "guidance": 3.0,
            "weights_bytes": 24_000_000,
        }
        limits = {
            "max_body_bytes": 1 << 25,
            "max_pixels": 1 << 24,
            "max_images": 16,
            "max_steps": 250,
            "max_guidance": 20.0,
        }
        return {
            "data": [tokenizer, other, coded, *([generator] if self.generators else [])],
            "limits": limits,
        }


class RefusedError(Exception):
    """An error answer: status, code and sentence."""


class StubHandler(BaseHTTPRequestHandler):
    """Answers as `python -m service` does."""

    stub: ClassVar[Stub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the test's output is the test's."""

    def _answer(self, body: bytes) -> None:
        if self.stub.away:
            self.close_connection = True  # without an answer
            return
        self.stub.requests.append((self.path, body))
        try:
            self._route(self.path.split("?")[0], body)
        except RefusedError as refused:
            status, code, message = refused.args
            headers = {"retry-after": "1"} if status in (429, 503) else {}
            self._send(
                status, json.dumps({"error": {"code": code, "message": message, "param": None}}), headers
            )

    def _route(self, path: str, body: bytes) -> None:
        if path == "/health/ready":
            if not self.stub.ready:
                raise RefusedError(503, "not_ready", "The model is still loading; try again in a second.")
            return self._send(200, '{"status": "ready"}')
        if not path.startswith("/v1/"):
            return self._page(path)
        if self.stub.key and self.headers.get("authorization") != f"Bearer {self.stub.key}":
            raise RefusedError(401, "no_key", "This server needs a key: Authorization: Bearer KEY.")
        if self.stub.full and path != "/v1/models":
            raise RefusedError(429, "queue_full", "The server is full; try again in a second.")
        answers = {
            "/v1/models": self._models,
            "/v1/encode": self._encode,
            "/v1/decode": self._decode,
            "/v1/reconstruct": self._reconstruct,
        }
        return (answers | {"/v1/generate": self._generate})[path](body)

    def _page(self, path: str) -> None:
        file = WEB / ("index.html" if path == "/" else path[1:])
        if not file.is_file():
            raise RefusedError(404, "not_found", f"There is nothing at {path}.")
        kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
        self._send(
            200, file.read_bytes(), {"content-type": kinds[file.suffix], "content-security-policy": POLICY}
        )

    def _models(self, _: bytes) -> None:
        self._send(200, json.dumps(self.stub.models()))

    def _encode(self, body: bytes) -> None:
        x, z = open_blocks(body)
        if "model=coded" in self.path:
            z = rounded(z)
            if "what=indices" in self.path:
                assert "format=png" in self.path
                return self._send(200, png(code_colours(z)), {"content-type": "image/png"})
        size = f"{x.shape[0]},{x.shape[1]}"
        self.stub.latents.append(save({"z": z[None]}, {"size": size, "spec_id": SPEC_ID}))
        return self._send(200, self.stub.latents[-1], latent_headers(x, z))

    def _decode(self, body: bytes) -> None:
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        height, width = (int(side) for side in header["__metadata__"]["size"].split(","))
        tensors = load(body)
        z = tensors["z"][0] if "z" in tensors else values_of(tensors["indices"][0])
        self._send(200, png(pixels_of(z, height, width)), {"content-type": "image/png"})

    def _reconstruct(self, body: bytes) -> None:
        x, z = open_blocks(body)
        headers = latent_headers(x, z)
        if "model=coded" in self.path:
            z = rounded(z)
            headers["x-tessera-latent-bytes"] = str(-(-z[0].size * 9 // 8))
        x_hat = pixels_of(z, x.shape[0], x.shape[1])
        error = np.mean((x.astype(np.float64) - x_hat) ** 2)
        psnr = "inf" if error == 0 else f"{10 * np.log10(255**2 / error):.4f}"
        self._send(200, png(x_hat), headers | {"x-tessera-psnr": psnr, "content-type": "image/png"})

    def _generate(self, body: bytes) -> None:
        if self.stub.generate_error:
            raise RefusedError(self.stub.generate_error[0], "refused", self.stub.generate_error[1])
        asked = json.loads(body)
        seed = 4711 if asked["seed"] is None else asked["seed"]
        generator = np.random.default_rng((seed, asked["label"]))
        pictures = [
            png(generator.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(asked["num_images"])
        ]
        self.stub.generated.append(pictures)
        if len(pictures) == 1:
            return self._send(200, pictures[0], {"x-tessera-seed": str(seed), "content-type": "image/png"})
        data = [
            {"index": index, "b64": base64.b64encode(each).decode()} for index, each in enumerate(pictures)
        ]
        answer = {"seed": seed, "size": [64, 64], "spec_id": SPEC_ID, "media_type": "image/png", "data": data}
        return self._send(200, json.dumps(answer))

    def _send(self, status: int, body: str | bytes, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def open_blocks(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and its latent (3, h, w): the mean of every block, in [-1, 1]."""
    try:
        x = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    except UnidentifiedImageError:
        raise RefusedError(422, "not_an_image", "this is not a picture: send PNG, JPEG or WebP") from None
    height, width = (-side % FACTOR for side in x.shape[:2])
    padded = np.pad(x, ((0, height), (0, width), (0, 0)), mode="edge").astype(np.float32) / 127.5 - 1
    blocks = padded.reshape(padded.shape[0] // FACTOR, FACTOR, padded.shape[1] // FACTOR, FACTOR, 3)
    return x, np.ascontiguousarray(blocks.mean((1, 3)).transpose(2, 0, 1))  # (3, h, w)


def rounded(z: np.ndarray) -> np.ndarray:
    """The latent with 8 levels a channel: 512 codes of 9 bits."""
    return (np.rint((z + 1) * 3.5) / 3.5 - 1).astype(np.float32)


def values_of(indices: np.ndarray) -> np.ndarray:
    """Indices (h, w) -> the rounded latent (3, h, w)."""
    digits = np.stack([indices // 64, indices // 8 % 8, indices % 8])
    return (digits / 3.5 - 1).astype(np.float32)


def code_colours(z: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) of a rounded latent in which every code has a colour."""
    return np.rint((z + 1) * 3.5 * 36).astype(np.uint8).transpose(1, 2, 0)


def pixels_of(z: np.ndarray, height: int, width: int) -> np.ndarray:
    """The latent (3, h, w) as pixels (H, W, 3) uint8."""
    x_hat = np.repeat(np.repeat(z.transpose(1, 2, 0), FACTOR, 0), FACTOR, 1)[:height, :width]
    return np.rint((x_hat + 1) * 127.5).astype(np.uint8)


def latent_headers(x: np.ndarray, z: np.ndarray) -> dict[str, str]:
    """The headers that say how large the picture and its latent are."""
    return {
        "content-type": "application/octet-stream",
        "x-tessera-size": f"{x.shape[0]},{x.shape[1]}",
        "x-tessera-pixel-bytes": str(x.size),
        "x-tessera-latent-bytes": str(z.size * 2),
        "server-timing": "queue;dur=0.2, before;dur=1.0, core;dur=3.6, after;dur=1.0",
    }


def png(pixels: np.ndarray) -> bytes:
    """PNG bytes of (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A running stub server; its ``url`` ends in a slash."""
    answers = Stub()
    handler = type("Handler", (StubHandler,), {"stub": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    answers.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield answers
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    pytest.importorskip("selenium", reason="selenium is not installed (pip install -e '.[dev]')")
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


class Visitor:
    """Someone at the page: looks at elements, waits for them, drops and clicks."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def run(self, script: str, *arguments: object) -> Any:  # what a script returns is its own affair
        return self.browser.execute_script(script, *arguments)

    def text(self, name: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", name))

    def hidden(self, name: str) -> bool:
        return bool(self.run("return document.getElementById(arguments[0]).hidden", name))

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def choose(self, name: str, value: str) -> None:
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1]; "
        self.run(
            script + "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind))", name, value
        )

    def wait(self, what: Callable[[], object], why: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: what(), why)

    def settle(self) -> None:
        """Until the page shows the result of what was last asked for."""
        script = (
            "return document.getElementById('status').dataset.state === 'ready'"
            " && document.getElementById('stage').getAttribute('aria-busy') === 'false'"
        )
        self.wait(lambda: self.run(script), "the page never finished")

    def give(self, kind: str, content: bytes, name: str) -> None:
        """Drops or pastes a file; the page is busy with it when this returns."""
        self.run(
            """
            const [kind, content, name] = arguments;
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
            const event = kind === "drop"
              ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
              : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
            document.body.dispatchEvent(event);
            """,
            kind,
            base64.b64encode(content).decode(),
            name,
        )

    def view(self, name: str) -> np.ndarray:
        """The pixels (H, W, 3) on the stage in one of its views."""
        self.click(f'input[name="view"][value="{name}"]')
        url = self.run("return document.getElementById('stage-base').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))

    def picture(self, height: int, width: int) -> np.ndarray:
        """A smooth picture with some noise, (H, W, 3) uint8."""
        rows, columns = np.mgrid[0:height, 0:width]
        smooth = np.stack([rows * 255 / height, columns * 255 / width, 128 + 0 * rows], axis=-1)
        noise = np.random.default_rng(0).normal(0, 20, smooth.shape)
        return np.clip(smooth + noise, 0, 255).astype(np.uint8)

    def as_png(self, pixels: np.ndarray) -> bytes:
        return png(pixels)


@pytest.fixture
def visitor(browser: Chrome, stub: Any) -> Iterator[Visitor]:
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    yield Visitor(browser)
    complaints = [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
    # Answers of 4xx and 5xx are logged by the browser itself; anything else is a fault of the page.
    assert [message for message in complaints if "Failed to load resource" not in message] == []
    browser.get("about:blank")
