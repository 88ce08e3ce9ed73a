"""Pictures of a class; progress is in steps: the job form of ``POST /v1/generate``."""

from __future__ import annotations

from service.jobs.replay import Replayed

GENERATE = Replayed("generate", "/v1/generate")
