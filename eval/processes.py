"""Processes that share a job: joined as their launcher started them, each with its own device.

``accelerate launch`` and ``python -m torch.distributed.run`` tell every process its place in the environment. What
the processes have to say to each other is small and lies on the CPU (gloo); results go through the job's folder.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed as dist

from eval.machine import pick_device
from tokenizer.core.distributed import num_processes, process_index

PATIENCE = timedelta(days=7)  # the others wait while the first one computes metrics; a launcher ends them all
POLL_S = 0.1


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes of a launcher; alone, or where they are joined already, nothing happens."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    yield  # after an error nobody waits for the others: the launcher ends them
    dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that writes reports; so it is alone."""
    return process_index() == 0


def own_device(name: str) -> torch.device:
    """``auto`` is the GPU of this process's place on its machine, where there are GPUs.

    Raises:
        ValueError: if the device does not exist here.
    """
    device = pick_device(name)
    place = os.environ.get("LOCAL_RANK")
    if name != "auto" or device.type != "cuda" or place is None:
        return device
    return torch.device("cuda", int(place) % torch.cuda.device_count())


def share(items: list[int]) -> list[int]:
    """Every so manyth of the items, so that each belongs to one process."""
    return items[process_index() :: num_processes()]


def agreed(flags: list[bool]) -> list[bool]:
    """The first process's flags, in all processes; every process gives as many."""
    if num_processes() == 1:
        return flags
    told = torch.tensor(flags, dtype=torch.uint8)
    dist.broadcast(told, 0)
    return [bool(flag) for flag in told.tolist()]


def wait(meanwhile: Callable[[], None] = lambda: None) -> None:
    """Until every process is here; ``meanwhile`` is called again and again.

    Raises:
        RuntimeError: a process has ended.
    """
    if num_processes() == 1:
        return
    barrier = dist.barrier(async_op=True)
    while not barrier.is_completed():
        meanwhile()
        time.sleep(POLL_S)
    barrier.wait()
