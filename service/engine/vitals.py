"""Signs of life of the worker process: one message a second from a thread of its own. Imports no torch by itself.

A pass of the network releases the interpreter, so the thread speaks through long passes; it falls silent when the
process hangs. How long a job may take is another matter, and the engine's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """The worker lives.

    Attributes:
        device_memory: bytes by kind, on CUDA: allocated (tensors), reserved (by PyTorch), total (of the device).
    """

    device_memory: dict[str, int] = field(default_factory=dict)


def start_pulse(
    send: Callable[[object], None], device_type: str, every_s: float = EVERY_S
) -> threading.Event:
    """Send Vitals until the event that comes back is set, or the process ends.

    Args:
        send: to the HTTP process; from any thread.
        device_type: ``cuda`` has memory to tell of.
        every_s: seconds between two.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_s):
            send(Vitals(device_memory(device_type)))

    send(Vitals(device_memory(device_type)))
    threading.Thread(target=beat, name="pulse", daemon=True).start()
    return stop


def device_memory(device_type: str) -> dict[str, int]:
    """Bytes of the current CUDA device by kind; nothing elsewhere."""
    if device_type != "cuda":
        return {}
    import torch

    return {
        "allocated": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
        "total": torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory,
    }
