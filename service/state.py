"""What the routes share: settings, registry, engine, bodies, metrics; one of each in a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.bodies import Bodies
from service.engine.engine import Engine
from service.engine.messages import WorkerSettings
from service.metrics import Metrics
from service.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    registry: Registry
    engine: Engine
    bodies: Bodies
    metrics: Metrics

    @classmethod
    def build(cls, settings: Settings, on_fatal: Callable[[str], None]) -> Service:
        """Read the registry and put the parts together; nothing is started.

        Raises:
            ValueError: a model of the settings cannot be served.
        """
        registry = Registry.read(settings.models)
        worker = WorkerSettings(
            models=registry.sources(),
            device=settings.device,
            dtype=settings.dtype,
            max_pixels=settings.max_pixels,
            max_batch=settings.max_batch,
            batch_pixels=settings.batch_pixels,
            tile_above_pixels=settings.tile_above_pixels,
            tile_side=settings.tile_side,
            before_threads=settings.before_threads,
            after_threads=settings.after_threads,
            log_level=settings.log_level,
        )
        bodies = Bodies(
            max_body_bytes=settings.max_body_bytes,
            max_total_bytes=settings.queue_bytes,
            timeout_s=settings.body_timeout_s,
        )
        metrics = Metrics()
        engine = Engine(settings, worker, on_fatal, metrics)
        return cls(settings, registry, engine, bodies, metrics)


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service = request.app.state.service
    assert isinstance(service, Service)  # app.py puts it there
    return service
