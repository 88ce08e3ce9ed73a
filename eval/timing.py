"""How long calls take, turn by turn, and how much memory they need."""

import resource
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from eval import machine


class Duration(NamedTuple):
    """Seconds by the clock, and of the processor over all threads where the work is done on it."""

    seconds: float
    processor_s: float | None


@torch.inference_mode()
def take_turns(
    calls: Sequence[Callable[[], object]], repeats: int, warmup: int, device: torch.device
) -> list[list[Duration]]:
    """Times of each call, ``repeats`` of them; the calls alternate, and the one that begins does too."""
    for call in calls:
        for _ in range(warmup):
            call()
    durations: list[list[Duration]] = [[] for _ in calls]
    for turn in range(repeats):
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            machine.synchronize(device)
            start, busy = time.perf_counter(), time.process_time()
            calls[index]()
            machine.synchronize(device)
            seconds, processor_s = time.perf_counter() - start, time.process_time() - busy
            durations[index].append(Duration(seconds, processor_s if device.type == "cpu" else None))
    return durations


@torch.inference_mode()
def peak_memory_mib(call: Callable[[], object], module: nn.Module, device: torch.device) -> float | None:
    """GPU memory that ``module`` needs: its weights and the most that one call allocates; None on a CPU.

    Whatever else lies on the device, such as the other side's weights, is left out.
    """
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    machine.synchronize(device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return (torch.cuda.max_memory_allocated(device) - before + weights) / 2**20


def peak_resident_mib() -> float:
    """The most memory that this whole process has held so far, the libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, linear in between."""
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))


def processor_ms(durations: Sequence[Duration]) -> float | None:
    """Median processor time; None where the work is done elsewhere."""
    known = [duration.processor_s for duration in durations if duration.processor_s is not None]
    return 1e3 * quantile(known, 0.5) if known else None
