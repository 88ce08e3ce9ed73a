"""Raw uint8 bodies of 8 KB, 192 KB and 3 MB, in and out, over the network that is nearly free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.serving.load import Asked
    from eval.serving.session import Session
    from eval.serving.work import Operation, WorkConfig

# Sides of square pictures.
SIDES = {"8 KB": 52, "192 KB": 256, "3 MB": 1024}
SMALL_BYTES = 200 * 1024


@dataclass(frozen=True, slots=True)
class Payload:
    """One size in one direction: ``encode`` takes the pixels, ``decode`` gives them."""

    name: str
    operation: Operation
    num_bytes: int
    work: WorkConfig
    requests: list[Asked]

    @property
    def title(self) -> str:
        """For a row."""
        return f"{self.name} {'in' if self.operation == 'encode' else 'out'}"


def payloads(session: Session) -> list[Payload]:
    """All of them, smallest first."""
    found = []
    for name, side in SIDES.items():
        for operation in ("encode", "decode"):
            work = session.work("encode" if operation == "encode" else "decode", free=True, output="npy")
            requests = session.requests(work, side=side, raw=True)
            found.append(Payload(name, work.operation, 3 * side * side, work, requests))
    return found
