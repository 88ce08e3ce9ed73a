"""What the routes share: settings, registry, engine, keys, metrics and the rest; one of each in a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from service.bodies import Bodies
from service.draining import Drain
from service.engine.messages import WorkerSettings
from service.heartbeat import Heartbeat
from service.jobs.house import JobHouse
from service.keys import Keys
from service.lifecycle import Lifecycle
from service.metering import Meter, MeteredEngine
from service.metrics import Metrics
from service.rate_limits import RateLimits
from service.registry import Registry
from service.registry.allowed import parse_folders
from service.residence import Residences

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from service.engine.engine import Engine
    from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    registry: Registry
    engine: Engine
    bodies: Bodies
    metrics: Metrics
    keys: Keys
    meter: Meter
    lifecycle: Lifecycle
    jobs: JobHouse | None = None
    drain: Drain = field(default_factory=Drain)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)

    @classmethod
    def build(cls, settings: Settings, on_fatal: Callable[[str], None]) -> Service:
        """Read the registry and put the parts together; nothing is started.

        Raises:
            ValueError: a model of the settings cannot be served, or keys or jobs cannot be read.
        """
        keys = Keys(
            settings.key_hashes,
            Path(settings.keys_file) if settings.keys_file else None,
            requests_per_minute=settings.requests_per_minute,
            pixels_per_minute=settings.pixels_per_minute,
        )
        registry = Registry.read(settings.models)
        parse_folders(settings.model_folders)
        residences = Residences(registry, settings.model_memory_bytes)
        first = residences.first() if settings.load == "all" else []
        worker = WorkerSettings(
            models=tuple(registry.source(key) for key in first),
            device=settings.device,
            dtype=settings.dtype,
            max_pixels=settings.max_pixels,
            max_batch=settings.max_batch,
            batch_pixels=settings.batch_pixels,
            buckets=settings.buckets,
            pass_s=settings.pass_s,
            warmup_s=settings.warmup_s,
            compile=settings.compile,
            tile_above_pixels=settings.tile_above_pixels,
            tile_side=settings.tile_side,
            before_threads=settings.before_threads,
            after_threads=settings.after_threads,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        bodies = Bodies(
            max_body_bytes=settings.max_body_bytes,
            max_total_bytes=settings.queue_bytes,
            timeout_s=settings.body_timeout_s,
        )
        metrics = Metrics()
        meter = Meter(settings, RateLimits())
        engine = MeteredEngine(settings, worker, on_fatal, metrics, meter)
        lifecycle = Lifecycle(
            registry,
            residences,
            engine,
            wait_s=settings.request_timeout_s,
            max_waiting=settings.queue_requests,
        )
        engine.keeper = lifecycle
        drain = Drain()
        jobs = None
        if settings.state:
            jobs = JobHouse(settings, registry, lambda: engine.status is not None, lambda: drain.begun)
        return cls(settings, registry, engine, bodies, metrics, keys, meter, lifecycle, jobs, drain)

    @property
    def is_ready(self) -> bool:
        """Whether work is taken: the models are warm, and the end is not near."""
        return self.engine.status is not None and not self.drain.begun


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service = request.app.state.service
    assert isinstance(service, Service)  # app.py puts it there
    return service
