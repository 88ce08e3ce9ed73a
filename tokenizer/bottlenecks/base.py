"""The one record that every bottleneck returns, and what a bottleneck is.

Letters: B batch, S the latent's grid, (H', W') or (T', H', W') or (N,).
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BottleneckOutput:
    """What every bottleneck returns.

    Attributes:
        z: (B, C, *S) what the decoder reads, in the tokenizer's own scale.
        indices: (B, *S) int64 code of each position, or None where z is continuous.
        loss: scalar, unweighted; exactly 0 where the bottleneck has none.
        stats: detached scalars to log, for example {"kl": nats per value}.
    """

    z: Tensor
    loss: Tensor
    indices: Tensor | None = None
    stats: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(Protocol):
    """From the encoder's features h to the latent z; "none" is a class too (``Identity``)."""

    def __call__(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C_h, *S) -> z (B, C, *S).

        ``sample`` draws from the posterior where there is one, with ``noise`` (standard normal, shape of z).
        """
        ...

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Codes (B, *S) -> z (B, C, *S); ValueError where z is continuous."""
        ...

    def input_channels(self, latent_channels: int) -> int:
        """Channels that the encoder must give for a latent of ``latent_channels``."""
        ...


def zero_loss(h: Tensor) -> Tensor:
    """The float32 zero of a bottleneck without a loss, on the device of h."""
    return torch.zeros((), dtype=torch.float32, device=h.device)
