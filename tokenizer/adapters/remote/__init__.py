"""A tokenizer that a server has: encode and decode over HTTP, float32 tensors as safetensors.

What comes back is what the model there computes; the spec is the server's (``/v1/models``), so latents are normalised
there and a latent of another model is refused there. Tiles and dtype are the server's too. Requests carry
``x-priority: batch``, so that whoever waits in front of the server goes first.

Letters: B batch, C channels, H W pixels.
"""

import json
import math
import re
import statistics
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import quote

import torch
from safetensors.torch import load, save
from torch import Tensor

from tokenizer.adapters.remote.connection import Connection, Reply
from tokenizer.layers.causal import Cache
from tokenizer.model import check_latent
from tokenizer.spec import Latent, LatentSpec
from tokenizer.tiling import TilePlan

ENCODE, DECODE, MODELS = "/v1/tensors/encode", "/v1/tensors/decode", "/v1/models"
HEADER_BYTES = 4096  # of safetensors around the numbers
CONNECTIONS = 4
MAX_SEED = 2**53 - 1
CORE = re.compile(r"core;dur=([\d.]+)")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RemoteTokenizer:
    """A served tokenizer, as the protocol ``tokenizer.model.Tokenizer``.

    Args:
        source: ``http://host:port#model``, the server's default model without the name; ``/v1`` behind the port may
            be given.
        key: of the server; without it the environment's TESSERA_API_KEY.
        priority: that the server runs requests at.
        connection: to use another one.

    Raises:
        ValueError: there is no such server or model.
    """

    def __init__(
        self,
        source: str,
        *,
        key: str | None = None,
        priority: Literal["batch", "interactive"] = "batch",
        connection: Connection | None = None,
    ) -> None:
        url, _, name = source.partition("#")
        self._connection = connection = connection or Connection(root_of(url), key=key)
        self._headers = {"content-type": "application/vnd.safetensors", "x-priority": priority}
        answer = json.loads(connection.get(MODELS).body)
        try:
            entry = entry_of(answer["data"], "tokenizer", name, url)
        except ValueError:
            connection.close()
            raise
        self.name: str = entry["name"]
        self.spec = LatentSpec.parse(entry["spec"])
        self.spec_id: str = entry["spec_id"]
        limits = answer["limits"]
        self._max_images = int(limits["max_images"])
        self._max_bytes = int(limits["max_body_bytes"]) - HEADER_BYTES
        self._max_pixels = int(limits["max_pixels"])
        self._pool = ThreadPoolExecutor(CONNECTIONS, "remote-tokenizer")
        weakref.finalize(self, _close, self._connection, self._pool)
        self._lock = threading.Lock()
        self._spent: dict[str, list[tuple[float, float]]] = {"encode": [], "decode": []}

    def encode(
        self,
        x: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: Cache | None = None,
    ) -> Latent:
        """x (B, 3, H, W) in [-1, 1], any size -> normalised Latent on the device of x, float32.

        Raises:
            ValueError: x has the wrong shape, an option cannot be asked of a server, or the server refuses.
        """
        _refuse(tiles=tiles, cache=cache, sample=sample or None)
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"x must be (B, 3, H, W), got {tuple(x.shape)}: a server encodes pictures")
        height, width = x.shape[2:]
        step = self._step((height, width), 4 * 3 * height * width)
        pieces = torch.split(x.detach().to("cpu", torch.float32), step)

        def send(piece: Tensor) -> dict[str, Tensor]:
            body = save({"x": piece.contiguous()})
            return load(self._ask("encode", ENCODE, body, num_tokens=num_tokens).body)

        answers = list(self._map(send, pieces))
        names = [part.name for part in self.spec.parts]
        parts = {name: torch.cat([answer[name] for answer in answers]).to(x.device) for name in names}
        return Latent(parts, (height, width), self.spec_id)

    def decode(
        self,
        latent: Latent,
        *,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Latent -> x_hat (B, 3, *latent.size), as the server's decoder gives it, float32 on the latent's device.

        A decoder that draws is given a seed that the ``generator`` draws here: equal generators give equal pictures,
        other ones than the same weights give that are loaded here.

        Raises:
            ValueError: the latent is another tokenizer's, an option cannot be asked of a server, or it refuses.
        """
        _refuse(tiles=tiles, cache=cache)
        seed = None
        if generator is not None and self.spec.num_steps is not None:
            seed = int(torch.randint(MAX_SEED, (), generator=generator, device=generator.device))
        asked = {"num_tokens": num_tokens, "num_steps": num_steps, "seed": seed}
        check_latent(latent, self.spec, self.spec_id)
        tensors = _tensors(latent)
        first = next(iter(tensors.values()))
        height, width = latent.size
        numbers = sum(value[0].numel() * value.element_size() for value in tensors.values())
        step = self._step((height, width), numbers)
        metadata = {"size": f"{height},{width}", "spec_id": self.spec_id}

        def send(start: int) -> Tensor:
            piece = {name: value[start : start + step].contiguous() for name, value in tensors.items()}
            return _tensor(self._ask("decode", DECODE, save(piece, metadata), **asked))

        return torch.cat(list(self._map(send, range(0, len(first), step)))).to(first.device)

    def timings(self) -> dict[str, float]:
        """Milliseconds of the requests so far, the first of each kind left out: whole, and in the server's network.

        The median and the 95th percentile of the time from sending to the last byte, by kind.
        """
        found: dict[str, float] = {}
        with self._lock:
            spent = {kind: pairs[1:] or pairs for kind, pairs in self._spent.items() if pairs}
        for kind, pairs in spent.items():
            whole = sorted(total for total, _ in pairs)
            found[f"{kind}_request_p50_ms"] = statistics.median(whole)
            found[f"{kind}_request_p95_ms"] = whole[min(len(whole) - 1, round(0.95 * len(whole)))]
            found[f"{kind}_network_p50_ms"] = statistics.median(core for _, core in pairs)
        return found

    def _ask(self, kind: str, path: str, body: bytes, **asked: int | None) -> Reply:
        query = "".join(f"&{name}={value}" for name, value in asked.items() if value is not None)
        reply = self._connection.post(f"{path}?model={quote(self.name)}{query}", body, self._headers)
        core = CORE.search(reply.headers.get("server-timing", ""))
        with self._lock:
            self._spent[kind].append((1000 * reply.seconds, float(core[1]) if core else 0.0))
        return reply

    def _step(self, size: tuple[int, ...], num_bytes: int) -> int:
        """Pictures of one request, each of this size and sent as so many bytes."""
        pixels = math.prod(self.spec.padded(size))
        return max(1, min(self._max_images, self._max_bytes // num_bytes, self._max_pixels // pixels))

    def _map(
        self, send: Callable[..., Any], pieces: Any
    ) -> Iterator[Any]:  # as ``map``, over a few connections
        pieces = list(pieces)
        return map(send, pieces) if len(pieces) == 1 else self._pool.map(send, pieces)


def _close(connection: Connection, pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=False)
    connection.close()


def is_remote(source: object) -> bool:
    """Whether a source names a server."""
    return str(source).startswith(("http://", "https://"))


def root_of(url: str) -> str:
    """The address in front of ``/v1``, whether that was given or not."""
    return re.sub(r"/v1(/.*)?$", "", url.rstrip("/"))


def entry_of(
    models: list[dict[str, Any]], kind: str, name: str, url: str
) -> dict[str, Any]:  # JSON of /v1/models
    """What a server tells of a model; of its default one without a name.

    Raises:
        ValueError: listing those there are.
    """
    found = [entry for entry in models if entry["kind"] == kind]
    for entry in found:
        if entry["name"] == name or (not name and entry["default"]):
            return entry
    known = ", ".join(entry["name"] for entry in found) or "none"
    raise ValueError(f"{url} serves no {kind} {name!r}: it has {known}")


def _refuse(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} cannot be asked of a server: leave it out, or load the model's folder")


def _tensors(latent: Latent) -> dict[str, Tensor]:
    """What is sent of a latent: its parts, or the indices of a discrete one that has no parts."""
    if latent.parts:
        return {name: part.detach().to("cpu", torch.float32) for name, part in latent.parts.items()}
    (indices,) = latent.indices.values()
    return {"indices": indices.to("cpu", torch.int64)}


def _tensor(reply: Reply) -> Tensor:
    """A raw tensor whose shape and type are told in headers."""
    headers: Mapping[str, str] = reply.headers
    shape, dtype = json.loads(headers["shape"]), DTYPES[headers["dtype"]]
    return torch.frombuffer(bytearray(reply.body), dtype=dtype).reshape(shape).float()
