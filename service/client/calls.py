"""The requests of the client, as data: what is sent, and how the answer is read. No sockets here.

``Client`` and ``AsyncClient`` only carry them; each call is written once.
"""

from __future__ import annotations

import json
import math
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from service.client import answers
from service.client.errors import BadAnswer
from service.client.latent import Latent
from service.client.pictures import picture_bytes
from service.client.retries import IDEMPOTENT
from service.engine.decoding import AS_IT_IS, Decoding
from service.wire.safetensors import SAFETENSORS_MEDIA_TYPE

if TYPE_CHECKING:
    from service.client.answers import Model, Pictures, Reconstruction, Reply
    from service.client.pictures import Picture
    from service.codecs import Output
    from service.wire.dtypes import LatentDtype

T = TypeVar("T")
Priority = Literal["interactive", "batch"]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request.

    Attributes:
        method, path: of HTTP; the path without the server's address.
        parse: reads a successful answer.
        params: after the question mark; None is left out.
        headers: names in lower case.
        content: the body.
        harmless: whether doing it twice does no harm although it is a POST.
    """

    method: str
    path: str
    parse: Callable[[Reply], T]
    params: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    harmless: bool = False

    @property
    def query(self) -> dict[str, str]:
        """Parameters that are given."""
        return {name: value for name, value in self.params.items() if value is not None}

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice does no harm."""
        return self.harmless or self.method in IDEMPOTENT or "idempotency-key" in self.headers

    def told(self, options: Options) -> Call[T]:
        """The same request with what ``options`` say in headers."""
        return replace(self, headers={**self.headers, **options.headers()})


@dataclass(frozen=True, slots=True)
class Options:
    """What any request may say beside its own parameters.

    Attributes:
        priority: ``batch`` runs when nothing interactive waits.
        timeout_s: after which the server drops it, and answers so.
        batch_bucket: pins the size that batches are padded to: equal requests then give equal bytes.
        request_id: names it in logs, and for ``cancel``.
        cancel_on_disconnect: False finishes it even if this client goes away.
    """

    priority: Priority = "interactive"
    timeout_s: float | None = None
    batch_bucket: int | None = None
    request_id: str | None = None
    cancel_on_disconnect: bool = True

    def headers(self) -> dict[str, str]:
        """Only what departs from the server's own ways."""
        given = {
            "x-priority": None if self.priority == "interactive" else self.priority,
            "x-timeout-ms": None if self.timeout_s is None else str(max(1, math.ceil(1000 * self.timeout_s))),
            "x-batch-bucket": None if self.batch_bucket is None else str(self.batch_bucket),
            "x-request-id": self.request_id,
            "x-cancel-on-disconnect": None if self.cancel_on_disconnect else "false",
        }
        return {name: value for name, value in given.items() if value is not None}


NO_OPTIONS = Options()


def encode(
    picture: Picture,
    *,
    model: str | None = None,
    what: Literal["latent", "indices"] = "latent",
    dtype: LatentDtype = "float32",
    num_tokens: int | None = None,
) -> Call[Latent]:
    """A picture -> its latent, which travels as ``dtype``, or its indices; of a row of tokens the first so many."""
    params = {"model": model, "what": what, "format": "safetensors", "num_tokens": _text(num_tokens)}
    if what == "latent" and dtype != "float32":
        params["dtype"] = dtype
    return Call(
        "POST", "/v1/encode", lambda reply: Latent.from_bytes(reply.body), params, {}, picture_bytes(picture)
    )


def decode(
    latent: Latent | bytes,
    *,
    model: str | None = None,
    output: Output = "png",
    quality: int | None = None,
    dtype: LatentDtype = "float32",
    decoding: Decoding = AS_IT_IS,
) -> Call[Pictures]:
    """A latent, or the bytes of its file -> its pictures."""
    body = latent if isinstance(latent, bytes) else latent.to_bytes(dtype)
    params = {"model": model, "output": output, "quality": _text(quality), **_asked(decoding)}
    headers = {"content-type": SAFETENSORS_MEDIA_TYPE}
    return Call("POST", "/v1/decode", answers.pictures, params, headers, body)


def reconstruct(
    picture: Picture,
    *,
    model: str | None = None,
    output: Output = "png",
    quality: int | None = None,
    decoding: Decoding = AS_IT_IS,
) -> Call[Reconstruction]:
    """A picture -> what encoding and decoding leave of it."""
    params = {"model": model, "output": output, "quality": _text(quality), **_asked(decoding)}
    return Call("POST", "/v1/reconstruct", answers.reconstruction, params, {}, picture_bytes(picture))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """What ``/v1/generate`` is asked for; None leaves it to the model.

    Attributes:
        label: class, by index or by name.
        prompt, negative_prompt: of models that take text.
        model: a generator; the default one without it.
        num_images: picture i starts from the noise of ``seed`` + i.
        num_steps: sampling steps.
        guidance: classifier-free guidance, 1 is none.
        seed: random, and told, without it.
        size: (H, W) in pixels, one of the model's.
        quality: of lossy formats, 0 to 100.
    """

    label: int | str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    model: str | None = None
    num_images: int = 1
    num_steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    quality: int | None = None

    def body(self, output: str, **more: object) -> bytes:
        """As JSON."""
        given: dict[str, object] = {
            name: getattr(self, name) for name in Generate.__slots__ if getattr(self, name) is not None
        }
        return json.dumps(given | {"output": output} | more).encode()


def generate(asked: Generate, output: Output = "png", *, stream: bool = False) -> Call[Pictures]:
    """A class or a prompt -> pictures; streamed, with news of every step before the result."""
    return _generate(asked.body(output, **({"stream": True} if stream else {})), answers.pictures)


def generate_latent(asked: Generate) -> Call[Latent]:
    """A class or a prompt -> the latents of its pictures."""
    return _generate(asked.body("latent"), lambda reply: Latent.from_bytes(reply.body))


def _generate(body: bytes, parse: Callable[[Reply], T]) -> Call[T]:
    return Call("POST", "/v1/generate", parse, {}, {"content-type": "application/json"}, body)


def models() -> Call[list[Model]]:
    """What is served."""
    return Call("GET", "/v1/models", answers.models)


def change_model(
    name: str,
    change: Literal["load", "unload", "default"],
    kind: Literal["tokenizer", "generator"] | None = None,
) -> Call[Model]:
    """Load a model, give its memory back, or make it the default of its kind; ``kind`` where two share the name."""
    return Call("POST", f"/v1/models/{in_path(name)}/{change}", answers.model, {"kind": kind}, harmless=True)


def limits() -> Call[dict[str, float]]:
    """What the server takes: ``max_body_bytes``, ``max_pixels``, ..."""

    def read(reply: Reply) -> dict[str, float]:
        try:
            return dict(reply.json()["limits"])
        except (KeyError, TypeError, ValueError):
            raise BadAnswer("JSON that tells no limits: is this address ours?") from None

    return Call("GET", "/v1/models", read)


def cancel(request_id: str) -> Call[None]:
    """Drop a request of another connection."""
    return Call("DELETE", f"/v1/requests/{in_path(request_id)}", lambda _: None)


def health(what: Literal["live", "ready"]) -> Call[bool]:
    """Whether the process answers, or the models are loaded and warm."""
    return Call("GET", f"/health/{what}", lambda _: True)


def in_path(name: str) -> str:
    """A name as one part of a path, whatever letters it has."""
    return urllib.parse.quote(name, safe="")


def _asked(decoding: Decoding) -> dict[str, str | None]:
    return {name: _text(getattr(decoding, name)) for name in Decoding.__slots__}


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)
