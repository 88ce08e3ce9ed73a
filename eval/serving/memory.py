"""Memory of a server and all processes below it, from /proc; None where there is no /proc.

Pages that processes share count once: the sum of proportional set sizes.
"""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for task in (PROC / str(one) / "task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def resident_bytes(pid: int) -> int | None:
    """Memory of the tree; None where the system does not tell."""
    sizes = [_proportional_bytes(one) for one in tree(pid)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def growth_per_minute(samples: list[tuple[float, int]]) -> float | None:
    """Slope of a straight line through (seconds, bytes), in bytes a minute; None of fewer than two moments."""
    if len({at for at, _ in samples}) < 2:
        return None
    mean_at = sum(at for at, _ in samples) / len(samples)
    mean_size = sum(size for _, size in samples) / len(samples)
    over = sum((at - mean_at) * (size - mean_size) for at, size in samples)
    return 60 * over / sum((at - mean_at) ** 2 for at, _ in samples)


def _proportional_bytes(pid: int) -> int | None:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
    return sizes[0] if sizes else None
