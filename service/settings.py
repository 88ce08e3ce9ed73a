"""Settings of the service, from the environment (prefix ``TESSERA_``); documented in service/README.md."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")


class Settings(BaseSettings):
    """How the server listens, what it serves and what it refuses."""

    model_config = SettingsConfigDict(env_prefix="TESSERA_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)(,(cpu|cuda(:\d+)?|mps))*$",
        description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`; several, as `cuda:0,cuda:1`, have a worker process each.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Parameters and arithmetic; `auto` is bfloat16 on CUDA, float32 elsewhere."
    )
    models: str = Field(
        "", description="`name=folder,...`, tokenizers and generators; the bundled demo without it."
    )
    load: Literal["all", "first-use"] = Field(
        "all",
        description="When models are loaded: `all` at the start, or each by its first request, `first-use`.",
    )
    model_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory of all models' weights on each device; the least recently used leaves. 0 for no limit.",
    )
    model_folders: str = Field(
        "", description="Folders, separated by commas, below which models may be added while the server runs."
    )
    api_keys: str = Field("", repr=False, description="Accepted keys, separated by commas.")
    keys_file: str = Field(
        "",
        description="JSON file of hashed keys with limits, from `python -m service.keys`; read again when it changes.",
    )
    allow_open: bool = Field(False, description="1 allows listening beyond loopback without keys.")
    requests_per_minute: int = Field(
        0, ge=0, description="Requests a minute of a key that has no limit of its own; 0 for any number."
    )
    pixels_per_minute: int = Field(
        0, ge=0, description="Work a minute, in pixels, of a key that has no limit of its own; 0 for any."
    )
    address_requests_per_minute: int = Field(
        0, ge=0, description="Requests a minute from one address; 0 for any number."
    )
    address_pixels_per_minute: int = Field(
        0, ge=0, description="Work a minute, in pixels, from one address; 0 for any."
    )
    cors_origins: str = Field(
        "", description="Origins whose pages may ask, separated by commas, or `*`; none without it."
    )
    metrics: Literal["guarded", "open", "off"] = Field(
        "guarded",
        description="Who reads `/metrics`: `guarded` this machine and holders of a key, `open` everyone.",
    )

    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest body of one request.")
    max_pixels: int = Field(
        4096 * 4096,
        ge=64,
        le=178_956_970,  # beyond it Pillow itself refuses to open a picture
        description="Largest picture after padding, and all pictures of one encode or decode request together.",
    )
    max_frames: int = Field(1800, ge=1, description="Most frames of a video.")
    max_seconds: float = Field(120.0, gt=0, description="Longest video.")
    max_video_pixels: int = Field(
        2**30,
        ge=64,
        description="All frames of a video together, after padding; `TESSERA_MAX_PIXELS` is of each.",
    )
    max_images: int = Field(16, ge=1, description="Most pictures of one request.")
    max_steps: int = Field(250, ge=1, description="Most sampling steps.")
    max_guidance: float = Field(20.0, ge=1.0, description="Strongest guidance.")

    queue_pixels: int = Field(
        8 * 4096 * 4096, ge=64, description="Work that may wait or run, in pixels; beyond it 429."
    )
    queue_requests: int = Field(512, ge=1, description="Requests that may wait or run; beyond it 429.")
    queue_s: float = Field(
        60.0, gt=0, description="Predicted wait of a request that is admitted; beyond it 429."
    )
    queue_bytes: int = Field(
        512 * 2**20, ge=1024, description="Bodies held in memory at once; beyond it 429."
    )
    max_batch: int = Field(16, ge=1, description="Most requests in one network pass.")
    batch_pixels: int = Field(16 * 512 * 512, ge=64, description="Most pixels in one network pass.")
    buckets: str = Field(
        "auto",
        description="Rows that a pass is padded to: `auto` for the powers of two that warm-up finds to pay, "
        "or a list, as `1,2,4,8`.",
    )
    pass_s: float = Field(1.0, gt=0, description="Longest network pass of more than one request.")
    warmup_s: float = Field(
        20.0, ge=0, description="Time for measuring the passes of one model at its start."
    )
    compile: Literal["auto", "off", "on"] = Field(
        "auto",
        description="Recorded steps of generators (CUDA graphs): `auto` where they are faster, `on`, or `off`.",
    )
    tile_above_pixels: int = Field(
        1536 * 1024, ge=64, description="Pictures larger than this go through the network in tiles."
    )
    tile_side: int = Field(768, ge=64, description="Side of a tile in pixels.")
    before_threads: int = Field(2, ge=1, le=64, description="Threads of the worker that decode pictures.")
    after_threads: int = Field(2, ge=1, le=64, description="Threads of the worker that encode pictures.")

    body_timeout_s: float = Field(60.0, gt=0, description="Time for a body to arrive.")
    request_timeout_s: float = Field(300.0, gt=0, description="Time from arrival to answer; beyond it 504.")
    start_timeout_s: float = Field(600.0, gt=0, description="Time for the worker to load and warm up.")
    stall_timeout_s: float = Field(
        900.0, gt=0, description="A worker with work that says nothing for so long is restarted."
    )
    heartbeat_timeout_s: float = Field(
        60.0, gt=0, description="A worker without a sign of life for so long makes `/health/live` say 503."
    )
    drain_timeout_s: float = Field(20.0, gt=0, description="Time that requests on board get at shutdown.")
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        description="Time that a server told to end still answers, so that balancers see it is not ready.",
    )
    state: str = Field(
        "", description="Folder of jobs and evaluations, which survive restarts; without it there are none."
    )
    data: str = Field("", description="`name=folder,...`, pictures that evaluations may name.")
    job_places: int = Field(4, ge=1, le=256, description="Jobs of requests that run at once.")
    evaluation_places: int = Field(1, ge=1, le=64, description="Evaluations that run at once.")
    job_queue: int = Field(1000, ge=1, description="Jobs that may wait; beyond it 429.")
    job_disk_bytes: int = Field(8 * 2**30, ge=2**20, description="Files of all jobs; beyond it 429.")
    job_timeout_s: float = Field(86_400.0, gt=0, description="Longest run of one job.")
    job_keep_s: float = Field(7 * 86_400.0, gt=0, description="How long a job that has ended is kept.")
    job_attempts: int = Field(
        3, ge=1, description="Times that a server may die under a job before that job is given up."
    )
    job_lease_s: float = Field(
        30.0,
        gt=0.5,
        description="A server that hangs for so long loses its jobs to another on the same folder.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines for people, or one JSON object a line."
    )
    otel_endpoint: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="OTLP/HTTP address for traces, as `http://collector:4318`; none are made without it.",
    )

    @model_validator(mode="after")
    def _closed_or_loopback(self) -> Settings:
        if not (self.is_loopback or self.key_hashes or self.keys_file or self.allow_open):
            raise ValueError(
                f"TESSERA_HOST={self.host} is reachable from other machines and no keys are set: "
                "set TESSERA_API_KEYS=key1,key2 or TESSERA_KEYS_FILE=path to ask for keys, "
                "or TESSERA_ALLOW_OPEN=1 to serve everyone, "
                "or TESSERA_HOST=127.0.0.1 to serve this machine only"
            )
        if self.tile_side * self.tile_side > self.tile_above_pixels:
            raise ValueError("TESSERA_TILE_SIDE squared must not exceed TESSERA_TILE_ABOVE_PIXELS")
        parse_models(self.models)
        parse_models(self.data, "TESSERA_DATA")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host in LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # another name may point anywhere
            return False

    @property
    def key_hashes(self) -> tuple[bytes, ...]:
        """sha256 of every accepted key; empty when the server is open."""
        keys = (key.strip() for key in self.api_keys.split(","))
        return tuple(hashlib.sha256(key.encode()).digest() for key in keys if key)

    @property
    def data_sets(self) -> tuple[tuple[str, str], ...]:
        """(name, folder) of every data set."""
        return parse_models(self.data, "TESSERA_DATA")

    @property
    def origins(self) -> list[str]:
        """Origins of ``cors_origins``."""
        return [origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip()]


def parse_models(text: str, setting: str = "TESSERA_MODELS") -> tuple[tuple[str, str], ...]:
    """``"a=/x,b=/y"`` -> (("a", "/x"), ("b", "/y")).

    Raises:
        ValueError: showing the form that is expected.
    """
    pairs = []
    for item in text.split(","):
        if not item.strip():
            continue
        name, found, path = item.partition("=")
        if not (found and name.strip() and path.strip()):
            raise ValueError(f"{setting}: {item!r} is not name=folder; write name=folder,name=folder")
        if not all(letter.isalnum() or letter in "._-" for letter in name.strip()):
            raise ValueError(f"{setting}: the name {name!r} may hold letters, digits, dot, dash, underscore")
        pairs.append((name.strip(), path.strip()))
    return tuple(pairs)
