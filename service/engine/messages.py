"""What the HTTP process and the worker say to each other over their pipe. Imports no torch.

The pipe is private to the two processes, so it may pickle; nothing that came from outside is ever unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from service.codecs import Output

if TYPE_CHECKING:
    from service.errors import ServiceError
    from service.wire import Array, Indices

Kind = Literal["tokenizer", "generator"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that the worker loads."""

    kind: Kind
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the worker needs to know; see service/settings.py for the meaning."""

    models: tuple[ModelSource, ...]
    device: str
    dtype: str
    max_pixels: int
    max_batch: int
    batch_pixels: int
    tile_above_pixels: int
    tile_side: int
    before_threads: int
    after_threads: int
    log_level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request.

    Attributes:
        id: unique in the life of the HTTP process.
        model: name in the registry.
        cost: pixels, the unit of admission and of batch limits.
        submitted_at: ``time.monotonic()``, which all processes of a machine share.
    """

    id: int
    model: str
    cost: int
    submitted_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeJob(Job):
    """A picture's bytes -> a latent or its indices, or a picture of them."""

    body: bytes
    format: Literal["safetensors", "npy", "png"]
    view: Literal["rgb", "channels"]
    what: Literal["latent", "indices"] = "latent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructJob(Job):
    """A picture's bytes -> the picture that comes back, and its PSNR."""

    body: bytes
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeJob(Job):
    """A checked latent, its parts or its indices -> pictures."""

    parts: dict[str, Array]
    indices: Indices | None = None
    size: tuple[int, int]
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateJob(Job):
    """A class -> pictures or latents."""

    label: int
    num_images: int
    num_steps: int
    guidance: float
    seed: int
    size: tuple[int, int]
    output: Output | Literal["latent"]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this job any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Models are loaded and warm."""

    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The worker cannot serve; ``reason`` is a sentence for the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The body to send and what stands in its headers.

    Attributes:
        id: of the job.
        body: the bytes as they go out.
        media_type: their content type.
        headers: further ``x-tessera-*`` headers.
        batch_size: jobs in the network pass that made it.
        timings_ms: by stage: queue, before, core, after.
    """

    id: int
    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)
    batch_size: int = 1
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The job could not be done."""

    id: int
    error: ServiceError


@dataclass(frozen=True, slots=True)
class Dropped:
    """Cancelled before it ran. Every job is answered by exactly one Answer, Failure or Dropped."""

    id: int
