"""What jobs can do: one file a kind, one line below, one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.jobs.kinds.decode import DECODE
from service.jobs.kinds.encode import ENCODE
from service.jobs.kinds.evaluation import EVALUATION
from service.jobs.kinds.generate import GENERATE
from service.jobs.kinds.reconstruct import RECONSTRUCT
from service.jobs.replay import Replayed

if TYPE_CHECKING:
    from service.jobs.kind import Kind

KINDS: dict[str, Kind] = {kind.name: kind for kind in (ENCODE, DECODE, RECONSTRUCT, GENERATE, EVALUATION)}
# Requests that have a job form, by path.
REPLAYED: dict[str, Replayed] = {kind.path: kind for kind in KINDS.values() if isinstance(kind, Replayed)}
