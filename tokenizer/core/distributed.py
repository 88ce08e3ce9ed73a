"""Numbers over all processes of a run; alone, each function is the identity.

Every process must call these the same number of times in the same order, so never inside a branch that
depends on data.
"""

import torch
from torch import Tensor
from torch import distributed as dist


def num_processes() -> int:
    """Processes that train together; 1 alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


@torch.no_grad()
def total(x: Tensor) -> Tensor:
    """Sum over the processes, detached; the same shape and, in all processes, the same bits."""
    if num_processes() == 1:
        return x.detach()
    x = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def mean(x: Tensor) -> Tensor:
    """Mean over the processes; the gradient goes to this process's x as if it were alone.

    Processes average their gradients, so a loss of this mean has the gradient of the joint batch.
    """
    if num_processes() == 1:
        return x
    return total(x) / num_processes() + (x - x.detach())


@torch.no_grad()
def stack(x: Tensor) -> Tensor:
    """Each process's x, detached, by process: (P, *x.shape). The shapes must agree."""
    rows = x.new_zeros(num_processes(), *x.shape)
    rows[process_index()] = x.detach()
    return total(rows)


@torch.no_grad()
def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of all processes' x, one after the other by process, by their global index.

    Args:
        x: (n, ...) rows of this process; n may differ between processes.
        rows: (m,) int64, the same in all processes, 0 to ``num_rows(x)`` - 1.

    Returns:
        (m, ...) detached, the same in all processes.
    """
    if num_processes() == 1:
        return x.detach()[rows]
    counts = stack(torch.tensor(len(x), device=x.device))
    first = int(counts[: process_index()].sum())
    local = rows - first
    mine = (local >= 0) & (local < len(x))
    shape = (-1,) + (1,) * (x.ndim - 1)
    taken = x.detach()[local.clamp(0, max(len(x) - 1, 0))] if len(x) else x.new_zeros(len(rows), *x.shape[1:])
    return total(torch.where(mine.view(shape), taken, 0))


def num_rows(x: Tensor) -> int:
    """Rows of x (n, ...) over all processes."""
    return int(total(torch.tensor(len(x), device=x.device)))
