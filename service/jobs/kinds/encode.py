"""A picture to its latent: the job form of ``POST /v1/encode``."""

from __future__ import annotations

from service.jobs.replay import Replayed

ENCODE = Replayed("encode", "/v1/encode")
