"""How much memory a stream needs, against the number of its frames.

On a GPU it is what the allocator had given out at most. On a CPU it is the bytes of all tensors alive at once, counted
operation by operation: a number that does not depend on the machine, but leaves out what a kernel takes and gives back
inside one operation.

Letters: T frames, H W rows and columns.
"""

import gc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eval import machine
from eval.video.passes import ClipPass
from tokenizer.core.config import Config
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan

MIB = 2**20


class MemoryPoint(Config):
    """Peak of one stream: frames of the clip, and MiB beyond the weights."""

    frames: int
    peak_mib: float


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Inside, counts the bytes of storages that operations made and that are still alive; ``peak`` is their most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # as torch calls it
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, list | tuple) else (result,):
            if isinstance(item, Tensor):
                self._count(item.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self._known:
            return
        self._known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        if address in self._known:
            self._known.discard(address)
            self.now -= size


def stream_memory(
    tokenizer: Tokenizer,
    counts: Sequence[int],
    size: tuple[int, int],
    *,
    piece_frames: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    tiles: TilePlan | None = None,
    seed: int = 0,
) -> tuple[MemoryPoint, ...]:
    """Peaks of encoding and decoding noise of ``counts`` frames (H, W), given by ``piece_frames`` at a time."""
    return tuple(
        MemoryPoint(
            frames=count,
            peak_mib=_peak(ClipPass(tokenizer, device, dtype, tiles=tiles), count, size, piece_frames, seed)
            / MIB,
        )
        for count in counts
    )


def _peak(run: ClipPass, count: int, size: tuple[int, int], piece_frames: int, seed: int) -> int:
    generator = torch.Generator().manual_seed(seed)
    gc.collect()
    if run.device.type == "cuda":
        machine.synchronize(run.device)
        before = torch.cuda.memory_allocated(run.device)
        torch.cuda.reset_peak_memory_stats(run.device)
        _stream(run, count, size, piece_frames, generator)
        peak: int = torch.cuda.max_memory_allocated(run.device)
        return peak - before
    with LiveTensors() as live:
        _stream(run, count, size, piece_frames, generator)
    held: int = live.peak
    return held


def _stream(
    run: ClipPass, count: int, size: tuple[int, int], piece_frames: int, generator: torch.Generator
) -> None:
    for first in range(0, count, piece_frames):
        length = min(piece_frames, count - first)
        noise = torch.randint(0, 256, (length, 3, *size), dtype=torch.uint8, generator=generator)
        run.push(noise, last=first + length == count)
