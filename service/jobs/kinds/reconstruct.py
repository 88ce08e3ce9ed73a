"""A picture through the tokenizer and back: the job form of ``POST /v1/reconstruct``."""

from __future__ import annotations

from service.jobs.replay import Replayed

RECONSTRUCT = Replayed("reconstruct", "/v1/reconstruct")
