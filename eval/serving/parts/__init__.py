"""What is measured, one file a part; each gives tables and claims."""

from __future__ import annotations

from collections.abc import Callable

from eval.serving.parts import cancel, capacity, ceiling, latency, liveness, overload, soak
from eval.serving.record import Claim, Table
from eval.serving.session import Session
from eval.serving.settings import Part

Measure = Callable[[Session], tuple[list[Table], list[Claim]]]
MEASURES: dict[Part, Measure] = {
    "ceiling": ceiling.measure,
    "latency": latency.measure,
    "capacity": capacity.measure,
    "overload": overload.measure,
    "liveness": liveness.measure,
    "cancel": cancel.measure,
    "soak": soak.measure,
}
