"""Latents to pictures: the job form of ``POST /v1/decode``."""

from __future__ import annotations

from service.jobs.replay import Replayed

DECODE = Replayed("decode", "/v1/decode")
