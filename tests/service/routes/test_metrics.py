"""/metrics: who may read it, and that its counts are what was sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import Server, as_file, models_setting, picture

HERE, ELSEWHERE = "127.0.0.1", "10.0.0.7"
KEY = {"authorization": "Bearer alpha"}


def scrape(text: str) -> dict[str, float]:
    """Samples as ``name{label="value",...}``, labels sorted."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def ask(app: FastAPI, host: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def course() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(host, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/metrics", headers=headers)

    return asyncio.run(course())


@pytest.mark.parametrize(
    ("settings", "host", "headers", "status"),
    [
        ({}, HERE, None, 200),
        ({}, "::1", None, 200),
        ({}, "::ffff:127.0.0.1", None, 200),
        ({}, ELSEWHERE, None, 403),
        ({"api_keys": "alpha"}, HERE, None, 200),
        ({"api_keys": "alpha"}, ELSEWHERE, None, 401),
        ({"api_keys": "alpha"}, ELSEWHERE, {"authorization": "Bearer beta"}, 401),
        ({"api_keys": "alpha"}, ELSEWHERE, KEY, 200),
        ({"api_keys": "alpha", "metrics": "open"}, ELSEWHERE, None, 200),
        ({"metrics": "off"}, HERE, None, 404),
        ({"api_keys": "alpha", "metrics": "off"}, ELSEWHERE, KEY, 404),
    ],
)
def test_who_reads_it(
    models: dict[str, Path],
    settings: dict[str, Any],
    host: str,
    headers: dict[str, str] | None,
    status: int,
) -> None:
    app = create_app(Settings(models=models_setting(models), **settings))
    answer = ask(app, host, headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert scrape(answer.text)["tessera_ready{}"] == 0
    else:
        assert answer.json()["error"]["message"]


def test_counts_are_what_was_sent(server: Server) -> None:
    """The difference of two scrapes, as other tests ask the same server before and after."""
    before = scrape(server.get("/metrics").text)
    body = as_file(picture(32, 32))
    for _ in range(3):
        assert server.post("/v1/encode", content=body).status_code == 200
    assert server.post("/v1/encode", content=b"no picture").status_code == 415
    assert server.get("/v1/gone").status_code == 404
    after = scrape(server.get("/metrics").text)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["tessera_requests_total{code=200,model=tiny,op=encode}"] == 3
    assert grown["tessera_requests_total{code=415,model=,op=encode}"] == 1
    assert grown["tessera_pixels_total{model=tiny,op=encode}"] == 3 * 32 * 32
    assert grown["tessera_received_bytes_total{op=encode}"] == 3 * len(body) + len(b"no picture")
    assert grown["tessera_request_seconds_count{op=encode}"] == 4
    for stage in ("queue", "before", "core", "after"):
        assert grown[f"tessera_stage_seconds_count{{op=encode,stage={stage}}}"] == 3
    assert grown["tessera_batch_size_count{op=encode}"] == 3
    assert after["tessera_ready{}"] == 1
    assert after["tessera_draining{}"] == 0
    assert after["tessera_queue_pixels{}"] == 0
    assert after["tessera_queue_depth{state=waiting}"] == 0
    assert after["tessera_requests_in_flight{}"] == 1  # the scrape itself
    assert after["tessera_worker_process_resident_memory_bytes{}"] > 2**20
    assert after["process_resident_memory_bytes{}"] > 2**20
    assert 0 <= after["tessera_worker_heartbeat_age_seconds{}"] < 60
