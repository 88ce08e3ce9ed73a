"""Recorded steps: a generator's network as CUDA graphs, one for each number of rows.

Launching kernels then costs the host next to nothing, which for small networks is most of a step.
Letters: B rows, C latent channels, H' W' latent grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusion.backbones import Denoiser

    Network = Callable[[Tensor, Tensor, Tensor], Tensor]

# Runs before the recording, so that libraries choose kernels and reserve their memory outside of it.
WARM_RUNS = 3


class RecordedDenoiser:
    """A denoiser that replays what was recorded for a number of rows, and runs as it is for others.

    Args:
        network: on its device.
        record: (network, z_t, t, y) -> a function of the same arguments for these shapes; CUDA graphs without it.
    """

    def __init__(
        self,
        network: Denoiser,
        record: Callable[[Network, Tensor, Tensor, Tensor], Network] | None = None,
    ) -> None:
        self.network = network
        self.latent_shape = network.latent_shape
        self.num_classes = network.num_classes
        self._record = record or record_graph
        self._recorded: dict[int, Network] = {}

    def record(self, rows: int, device: torch.device) -> None:
        """Calls of so many rows are replayed from now on."""
        z_t = torch.zeros(rows, *self.latent_shape, device=device)
        z_t = z_t.contiguous(memory_format=torch.channels_last)
        t = torch.full((rows,), 0.5, device=device)
        y = torch.zeros(rows, dtype=torch.int64, device=device)
        self._recorded[rows] = self._record(self.network, z_t, t, y)

    def forget(self, rows: int) -> None:
        """Calls of so many rows run as they are again."""
        self._recorded.pop(rows, None)

    @property
    def recorded(self) -> tuple[int, ...]:
        """The numbers of rows that are replayed."""
        return tuple(sorted(self._recorded))

    def __call__(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """As the network's own call."""
        return self._recorded.get(len(z_t), self.network)(z_t, t, y)


def record_graph(network: Network, z_t: Tensor, t: Tensor, y: Tensor) -> Network:
    """The network's call for these shapes as a CUDA graph.

    What comes back is copied out, so the next replay does not change it. Other threads may go on using the device
    while this one records.
    """
    inputs = (z_t, t, y)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_RUNS):
            network(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = network(*inputs)

    def replay(*values: Tensor) -> Tensor:
        for place, value in zip(inputs, values, strict=True):
            place.copy_(value)
        graph.replay()
        return output.clone()

    return replay
