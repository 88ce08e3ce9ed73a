"""What the HTTP process and the worker say to each other over their pipe. Imports no torch.

The pipe is private to the two processes, so it may pickle; nothing that came from outside is ever unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from service.codecs import Output, Pixels
from service.engine.decoding import AS_IT_IS, Decoding
from service.wire import Array

if TYPE_CHECKING:
    from service.errors import ServiceError
    from service.wire import Indices, LatentDtype, LatentFormat

Kind = Literal["tokenizer", "generator"]
Priority = Literal["interactive", "batch"]
Bundle = Literal["json", "zip"]
TensorAnswer = Literal["x_hat", "unit", "uint8"]
Sampler = Literal["euler", "heun"]  # the names of diffusion.samplers, which imports torch


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """What the registry knows of a pipeline of diffusers.

    Attributes:
        class_name: of the pipeline.
        spec_id: identity of its files.
        size: (H, W) that it makes by itself.
        takes_size: whether it can be asked for others.
        guidance: that it uses by itself; None if it knows no guidance.
    """

    class_name: str
    spec_id: str
    size: tuple[int, int]
    takes_size: bool
    guidance: float | None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that the worker loads.

    Attributes:
        pipeline: of a generator that is a pipeline of diffusers.
        tokenizer: name of the one that decodes for a generator of ours; any of its latent space without it.
    """

    kind: Kind
    name: str
    path: str
    pipeline: PipelineFacts | None = None
    tokenizer: str | None = None


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
    log_format: Literal["text", "json"] = "text"
    buckets: str = "auto"
    pass_s: float = 1.0
    warmup_s: float = 20.0
    compile: Literal["auto", "off", "on"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request.

    Attributes:
        id: unique in the life of the HTTP process.
        model: name in the registry.
        cost: pixels, the unit of admission and of batch limits.
        submitted_at: ``time.monotonic()``, which all processes of a machine share.
        request_id: of the HTTP request; several jobs may share it, and it cancels them all.
        priority: ``batch`` runs when nothing interactive waits.
        deadline: ``time.monotonic()`` after which it is dropped and answered TimedOut.
        bucket: the batch bucket that the caller pinned; it runs in passes of that bucket only.
        decode_bucket: with it, of the passes that decode what was generated, where that is another one.
        progress_every: Progress messages wanted every so many steps; 0 for none.
        previews: with a small picture in them.
        timeout_s: in place of the setting ``request_timeout_s``.
        held: pixels that it has in the worker at a time, where it goes through in pieces; None for all of them.
    """

    id: int
    model: str
    cost: int
    submitted_at: float
    request_id: str = ""
    priority: Priority = "interactive"
    deadline: float | None = None
    bucket: int | None = None
    decode_bucket: int | None = None
    progress_every: int = 0
    previews: bool = False
    timeout_s: float | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Convention:
    """How latents of another convention relate to the raw ones: ``raw = z / scaling_factor + shift_factor``.

    None leaves a step out. Raw is what the tokenizer's bottleneck gives, before its spec normalises it; ``own`` says
    that z is normalised as the spec does.
    """

    scaling_factor: float | None = None
    shift_factor: float | None = None
    own: bool = False


# Pictures as they were sent: a file; several files of one size; uint8 (N, H, W, 3); or float32 (N, 3, H, W) in [-1, 1].
Pictures = bytes | tuple[bytes, ...] | Pixels | Array


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeJob(Job):
    """Pictures -> their latents or indices, or a picture of them.

    Attributes:
        body: the pictures.
        dtype: of the elements of latents.
        convention: of a raw tensor that diffusers' clients read, in place of ``format`` and ``dtype``.
        num_tokens: of a row of tokens the first so many; None for all.
    """

    body: Pictures
    format: Literal["safetensors", "npy", "raw", "png"]
    view: Literal["rgb", "channels"]
    what: Literal["latent", "indices"] = "latent"
    dtype: LatentDtype = "float32"
    convention: Convention | None = None
    num_tokens: int | None = None

    @property
    def num_images(self) -> int:
        """Pictures of the request."""
        return 1 if isinstance(self.body, bytes) else len(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructJob(Job):
    """A picture -> the picture that comes back, and its PSNR."""

    body: Pictures
    output: Output
    quality: int | None = None
    decoding: Decoding = AS_IT_IS


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeJob(Job):
    """A checked latent, its parts or its indices -> pictures.

    Attributes:
        parts: float32 (B, C, ...) by name, normalised, or as ``convention`` says.
        bundle: how pictures are put together; None gives one alone and several as JSON.
        quality: 0 to 100 of a lossy ``output``; None for the format's own.
        convention: of the latent, where it is not the spec's.
        tensor: in place of ``output``, a raw tensor that diffusers' clients read: the decoder's own x_hat
            (B, 3, H, W), the same brought to [0, 1], or uint8 (B, H, W, 3).
    """

    parts: dict[str, Array]
    indices: Indices | None = None
    size: tuple[int, int]
    output: Output
    bundle: Bundle | None = None
    quality: int | None = None
    convention: Convention | None = None
    tensor: TensorAnswer | None = None
    decoding: Decoding = AS_IT_IS

    @property
    def num_images(self) -> int:
        """Pictures of the request."""
        return len(next(iter(self.parts.values()))) if self.indices is None else len(self.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateJob(Job):
    """A class, or a prompt where the model takes one -> pictures or latents.

    Attributes:
        label: class index; None for a model that is prompted.
        init: a picture's bytes to start from, brought to ``size``; None starts from noise.
        strength: with ``init``, in (0, 1]: the time on the path from picture (0) to noise (1) to start at.
        mask: with ``init``, a picture's bytes, white (or, where it has transparency, transparent) where it is made
            anew; ``codecs.decode_mask`` reads it.
        quality: 0 to 100 of a lossy ``output``; None for the format's own.
        sampler: of the steps.
        latent_format, dtype: of latents.
    """

    label: int | None
    num_images: int
    num_steps: int
    guidance: float
    seed: int
    size: tuple[int, int]
    output: Output | Literal["latent"]
    sampler: Sampler = "euler"
    prompt: str | None = None
    negative_prompt: str | None = None
    init: bytes | None = None
    strength: float = 1.0
    mask: bytes | None = None
    quality: int | None = None
    latent_format: LatentFormat = "safetensors"
    dtype: LatentDtype = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineJob(GenerateJob):
    """The same of a pipeline of diffusers, which makes pictures only, and all of a request's together."""


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Load a model beside those that are there; answered by ModelLoaded or ModelFailed."""

    source: ModelSource


@dataclass(frozen=True, slots=True)
class UnloadModel:
    """Forget a model and give its memory back; answered by ModelUnloaded or ModelFailed."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The model is loaded and warm.

    Attributes:
        memory_bytes: of its weights on the device.
        seconds: that loading and warming up took.
    """

    kind: Kind
    name: str
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelUnloaded:
    """The model is gone; its memory is free."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The model could not be loaded or unloaded; the others are as they were."""

    kind: Kind
    name: str
    error: ServiceError


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this job any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Models are loaded and warm.

    Attributes:
        device, dtype: of the worker.
        loaded: what each model took.
        seconds_per_cost: by kind of job (the name of its class) and model, as measured.
    """

    device: str
    dtype: str
    loaded: tuple[ModelLoaded, ...] = ()
    seconds_per_cost: dict[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """A pass did not fit into the device's memory; what becomes of its jobs is told apart.

    Attributes:
        rows: of the pass, padding counted.
    """

    rows: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The worker cannot serve; ``reason`` is a sentence for the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        id: of the job.
        step: steps done of ``num_steps``, of the picture that is furthest back.
        preview: a small JPEG of the first picture as it would be by now.
    """

    id: int
    step: int
    num_steps: int
    preview: bytes | None = None


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
        bucket: the batch bucket it ran in; the same request pinned to it gives the same bytes.
        decode_bucket: with generation, the bucket that decoded it.
        core_seconds: its share of the network's time.
    """

    id: int
    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)
    batch_size: int = 1
    timings_ms: dict[str, float] = field(default_factory=dict)
    bucket: int | None = None
    decode_bucket: int | None = None
    core_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The job could not be done."""

    id: int
    error: ServiceError


@dataclass(frozen=True, slots=True)
class Dropped:
    """Cancelled before it was finished. Every job is answered by exactly one Answer, Failure or Dropped."""

    id: int
