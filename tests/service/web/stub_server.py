"""A server in this process that answers the documented API without a model.

Its tokenizer is the mean of every 16x16 block: a true encode and decode, whose figures can be checked. Its generator
draws noise from the seed and the class.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from safetensors.numpy import load, save

from service.routes.page import POLICY
from tests.service.web.stub_model import (
    FACTOR,
    SIDE,
    SPEC_ID,
    RefusedError,
    code_colours,
    form_fields,
    jpeg,
    latent_headers,
    open_blocks,
    pixels_of,
    png,
    rounded,
    several,
    values_of,
)

WEB = Path(__file__).resolve().parents[3] / "service" / "web"
CLASS_NAMES = ["dress", "hat", "shoes"]
LIMITS = {
    "max_body_bytes": 1 << 25,
    "max_pixels": 1 << 24,
    "max_images": 8,
    "max_steps": 250,
    "max_guidance": 20.0,
}


def opened() -> threading.Event:
    """An event that nobody waits for yet."""
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Stub:
    """What the stub server does next, and what it was asked.

    ``gate`` holds streams between their last preview and their result until it is set.
    """

    ready: bool = True
    key: str | None = None
    full: bool = False
    away: bool = False
    generators: bool = True
    jobs_on: bool = True
    without: tuple[str, ...] = ()  # paths that the OpenAPI document does not name
    generate_error: tuple[int, str] | None = None
    gate: threading.Event = field(default_factory=opened)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    latents: list[bytes] = field(default_factory=list)
    generated: dict[tuple[int, int], bytes] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    unloaded: set[str] = field(default_factory=set)
    url: str = ""

    def bodies(self, path: str) -> list[bytes]:
        """Bodies sent to ``path``, in order."""
        return [body for asked, body in self.requests if asked.split("?")[0] == path]

    def asked(self, path: str) -> list[dict[str, Any]]:
        """Those bodies as JSON."""
        return [json.loads(body) for body in self.bodies(path)]

    def interface(self) -> dict[str, Any]:
        """What of GET /openapi.json the page reads."""
        routes = {
            "/v1/generate": "post",
            "/v1/images/edits": "post",
            "/v1/jobs": "get",
            "/v1/evaluations": "post",
            "/v1/models/{name}/load": "post",
            "/v1/models/{name}/unload": "post",
        }
        paths = {path: {method: {}} for path, method in routes.items() if path not in self.without}
        paths["/v1/encode"] = {"post": {"parameters": [{"name": "format"}, {"name": "dtype"}]}}
        schemas = {
            "GenerateRequest": {"properties": {"label": {}, "stream": {}}},
            "EvaluationRequest": {"properties": {"protocol": {"default": "canon-v1"}}},
        }
        return {"paths": paths, "components": {"schemas": schemas}}

    def models(self) -> dict[str, Any]:
        """The answer of GET /v1/models."""
        part = {"name": "z", "layout": "2d", "channels": 3, "spatial_factor": FACTOR, "temporal_factor": 1}
        figures = {"metrics": {"psnr": {"value": 27.2164}}, "num_images": 341, "protocol": "canon-v1"}
        common = {
            "name": "demo",
            "default": True,
            "spec_id": SPEC_ID,
            "licence": "CC0-1.0",
            "figures": figures,
        }
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
            "conditioning": "class",
            "takes": ["guidance"],
            "class_names": CLASS_NAMES,
            "sizes": [[SIDE, SIDE]],
            "num_steps": 20,
            "guidance": 3.0,
            "weights_bytes": 24_000_000,
        }
        models = [tokenizer, other, coded, *([generator] if self.generators else [])]
        states = [{"state": "unloaded" if model["name"] in self.unloaded else "loaded"} for model in models]
        return {
            "data": [model | state for model, state in zip(models, states, strict=True)],
            "limits": LIMITS,
        }

    def add_job(self, **changes: Any) -> dict[str, Any]:
        """A job as GET /v1/jobs shows it."""
        number = len(self.jobs)
        job: dict[str, Any] = {
            "id": f"job_{number}",
            "object": "evaluation",
            "kind": "evaluation",
            "status": "queued",
            "progress": 0,
            "created_at": 1_790_000_000 + number,
            "started_at": None,
            "completed_at": None,
            "queue_position": 1,
            "eta_s": None,
            "phase": "",
            "done": 0,
            "total": 0,
            "images_per_s": None,
            "cancelling": False,
            "error": None,
            "request": {"job": "reconstruct", "model": "demo", "data": "photos"},
            "result": None,
            "metrics": {},
        }
        self.jobs.insert(0, job | changes)
        return self.jobs[0]


class StubHandler(BaseHTTPRequestHandler):
    """Answers as `python -m service` does."""

    stub: ClassVar[Stub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_DELETE(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

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
            return self._json({"status": "ready"})
        if path == "/openapi.json":
            return self._json(self.stub.interface())
        if not path.startswith("/v1/"):
            return self._page(path)
        if self.stub.key and self.headers.get("authorization") != f"Bearer {self.stub.key}":
            raise RefusedError(401, "no_key", "This server needs a key: Authorization: Bearer KEY.")
        if self.stub.full and path != "/v1/models":
            raise RefusedError(429, "queue_full", "The server is full; try again in a second.")
        if path.startswith(("/v1/jobs", "/v1/evaluations")):
            return self._jobs(path, body)
        if path.startswith("/v1/models/"):
            return self._change(path)
        answers = {
            "/v1/models": lambda _: self._json(self.stub.models()),
            "/v1/encode": self._encode,
            "/v1/decode": self._decode,
            "/v1/reconstruct": self._reconstruct,
            "/v1/images/edits": self._edit,
            "/v1/generate": self._generate,
        }
        return answers[path](body)

    def _page(self, path: str) -> None:
        if path == "/blank":  # for modules alone
            return self._send(200, "<!doctype html><title>blank</title>", {"content-type": "text/html"})
        file = WEB / ("index.html" if path == "/" else path[1:])
        if not file.is_file():
            raise RefusedError(404, "not_found", f"There is nothing at {path}.")
        kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
        headers = {"content-type": kinds[file.suffix], "content-security-policy": POLICY}
        return self._send(200, file.read_bytes(), headers)

    def _change(self, path: str) -> None:
        name, verb = path.split("/")[-2:]
        (self.stub.unloaded.discard if verb == "load" else self.stub.unloaded.add)(name)
        self._json({"name": name})

    def _jobs(self, path: str, body: bytes) -> None:
        if not self.stub.jobs_on:
            raise RefusedError(
                404, "jobs_off", "this server keeps no jobs: start it with TESSERA_STATE=FOLDER"
            )
        if path == "/v1/evaluations/data":
            return self._json({"data": ["photos", "faces"]})
        if path == "/v1/jobs":
            return self._json({"object": "list", "data": self.stub.jobs})
        if path == "/v1/evaluations":
            return self._json(self.stub.add_job(request=json.loads(body)), 202)
        found = next(job for job in self.stub.jobs if job["id"] in path)
        if path.endswith("/log"):
            return self._send(200, "64 of 341 pictures\n", {"content-type": "text/plain"})
        if path.endswith("/cancel"):
            found.update(status="cancelled", completed_at=found["created_at"] + 5)
        elif self.command == "DELETE":
            self.stub.jobs.remove(found)
        return self._json(found)

    def _encode(self, body: bytes) -> None:
        x, z = open_blocks(body)
        if "model=coded" in self.path:
            z = rounded(z)
            if "what=indices" in self.path:
                assert "format=png" in self.path
                return self._send(200, png(code_colours(z)), {"content-type": "image/png"})
        size = f"{x.shape[0]},{x.shape[1]}"
        if "dtype=float16" in self.path:
            z = z.astype(np.float16)
        self.stub.latents.append(save({"z": z[None]}, {"size": size, "spec_id": SPEC_ID}))
        return self._send(200, self.stub.latents[-1], latent_headers(x, z))

    def _decode(self, body: bytes) -> None:
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        height, width = (int(side) for side in header["__metadata__"]["size"].split(","))
        assert header["__metadata__"]["spec_id"] == SPEC_ID
        tensors = load(body)
        batch = tensors["z"] if "z" in tensors else [values_of(tensors["indices"][0])]
        files = [png(pixels_of(z, height, width)) for z in batch]
        if len(files) == 1:
            return self._send(200, files[0], {"content-type": "image/png"})
        assert len(files) <= LIMITS["max_images"]
        return self._json({"seed": None, **several(files)})

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
        seed, label, steps = asked["seed"], asked["label"], asked.get("num_steps", 20)
        draw = np.random.default_rng((seed, label))
        if asked["output"] == "latent":
            z = draw.uniform(-1, 1, (1, 3, SIDE // FACTOR, SIDE // FACTOR)).astype(np.float32)
            file = save({"z": z}, {"size": f"{SIDE},{SIDE}", "spec_id": SPEC_ID})
            return self._send(200, file, {"content-type": "application/vnd.safetensors"})
        file = png(draw.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
        self.stub.generated[label, seed] = file
        half = {"step": steps // 2, "num_steps": steps}
        preview = {"media_type": "image/jpeg", "b64": base64.b64encode(jpeg(SIDE // 8)).decode()}
        result = {"seed": seed, **several([file])}
        return self._stream([("progress", half), ("preview", half | preview)], ("result", result))

    def _edit(self, body: bytes) -> None:
        fields = form_fields(self.headers["content-type"], body)
        pixels = np.asarray(Image.open(io.BytesIO(fields["image"])).convert("RGB")).copy()
        seed = int(fields["seed"])
        if "mask" in fields:
            anew = np.asarray(Image.open(io.BytesIO(fields["mask"])))[..., 3] == 0
            pixels[anew] = [255, 0, seed % 256]
        item = {"output_format": "png", "b64_json": base64.b64encode(png(pixels)).decode()}
        partial = ("image_edit.partial_image", item | {"partial_image_index": 0})
        self._stream([partial], ("image_edit.completed", item | {"seed": seed}))

    def _stream(self, before: list[tuple[str, object]], last: tuple[str, object]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for name, data in before:
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.write(b": still here\n\n")
        self.stub.gate.wait(30)
        try:
            self.wfile.write(f"event: {last[0]}\ndata: {json.dumps(last[1])}\n\n".encode())
        except OSError:
            return  # who asked has gone

    def _json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content))

    def _send(self, status: int, body: str | bytes, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
