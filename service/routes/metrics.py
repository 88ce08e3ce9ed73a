"""Prometheus' page, and the gauges that are read when it is asked for."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from service.errors import NotAllowed, RouteNotFound
from service.guard import find_caller
from service.metrics import CONTENT_TYPE
from service.routes.answers import error_answers
from service.state import service_of

if TYPE_CHECKING:
    from service.state import Service

router = APIRouter()

ANSWER = {
    "description": "Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": "tessera_requests_in_flight 1.0\n"}},
}
ERRORS: dict[int | str, dict[str, Any]] = {  # OpenAPI is JSON
    status: answer for status, answer in error_answers(404).items() if status in (401, 403, 404, 500)
}


@router.get("/metrics", response_class=Response, responses={200: ANSWER, **ERRORS})
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges for Prometheus; who may read them is the setting TESSERA_METRICS."""
    service = service_of(request)
    if service.settings.metrics == "off":
        raise RouteNotFound("/metrics is not served: TESSERA_METRICS=guarded or open serves it")
    if service.settings.metrics == "guarded" and not is_this_machine(request):
        if not service.keys.required:
            raise NotAllowed("metrics are read on this machine only: TESSERA_METRICS=open shows them to all")
        find_caller(service, request.headers.get("authorization"))
    return Response(service.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


def is_this_machine(request: Request) -> bool:
    """Whether the request came over loopback."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:  # no address: a unix socket behind a proxy may be anyone
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def watch(service: Service) -> None:
    """Show the engine, the bodies and the processes at every scrape."""
    metrics, engine = service.metrics, service.engine
    metrics.watch("queue_pixels", "Work that waits or runs, in pixels.", (), lambda: {(): engine.cost})
    metrics.watch(
        "ready", "1 while the models are loaded and warm.", (), lambda: {(): float(service.is_ready)}
    )
    if service.jobs is not None:
        metrics.watch("jobs", "Jobs by state.", ("state",), service.jobs.counts)
    metrics.watch("draining", "1 once the server is to end.", (), lambda: {(): float(service.drain.begun)})
    metrics.watch(
        "body_bytes_held", "Bodies held in memory.", (), lambda: {(): float(service.bodies.held_bytes)}
    )
    metrics.watch(
        "event_loop_lag_seconds",
        "The longest that the event loop was late in the last ten seconds.",
        (),
        lambda: {(): service.heartbeat.lag_s},
    )
    metrics.watch(
        "worker_heartbeat_age_seconds",
        "Since the worker last showed a sign of life; none while it loads.",
        (),
        lambda: {} if engine.pulse_age_s is None else {(): engine.pulse_age_s},
    )
    metrics.watch(
        "device_memory_bytes",
        "Memory of the worker's device by kind: allocated (tensors), reserved (by PyTorch), total.",
        ("kind",),
        lambda: {(kind,): float(size) for kind, size in engine.device_memory.items()},
    )
    metrics.watch(
        "queue_depth", "Jobs by where they are: waiting, running.", ("state",), lambda: depth(service)
    )
    metrics.watch_process("worker", lambda: engine.worker_pid)


def depth(service: Service) -> dict[tuple[str, ...], float]:
    """Jobs that wait in this process and jobs that the worker has."""
    waiting, running = service.engine.depth
    return {("waiting",): float(waiting), ("running",): float(running)}
