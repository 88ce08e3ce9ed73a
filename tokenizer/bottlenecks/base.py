"""The one record that every bottleneck returns, and what a bottleneck is.

Letters: B batch, C latent channels, S the latent's grid, (H', W') or (T', H', W') or (N,), Q codebooks, L tokens.
"""

from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import torch
from torch import Tensor

MAX_CODEBOOK = 2**32


@dataclass(frozen=True, slots=True)
class Codes:
    """What a discrete bottleneck sends.

    Attributes:
        codebook_size: codes that one index chooses from.
        num_codebooks: Q, indices at each position.
        scales: sides of the token maps of a multi-scale quantizer, coarse to fine, for a latent of side
            ``scales[-1]``; None where indices lie on the latent's own grid.

    Raises:
        ValueError: if an index does not fit 32 bits.
    """

    codebook_size: int
    num_codebooks: int = 1
    scales: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.codebook_size <= MAX_CODEBOOK:
            raise ValueError(
                f"codebook_size {self.codebook_size} must be 2 to 2**32, what an index of 32 bits can name: "
                "use several codebooks (groups) instead of a larger one"
            )


@dataclass(frozen=True, slots=True)
class BottleneckOutput:
    """What every bottleneck returns.

    Attributes:
        z: (B, C, *S) what the decoder reads, in the tokenizer's own scale.
        loss: scalar float32, its own inner weights applied; exactly 0 where the bottleneck has none.
        indices: int64 codes: (B, *S), or (B, Q, *S) with Q > 1 codebooks, or (B, L) from coarse to fine for
            several scales; None where z is continuous.
        stats: detached scalars to log, for example {"kl": nats per value}.
    """

    z: Tensor
    loss: Tensor
    indices: Tensor | None = None
    stats: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(Protocol):
    """From the encoder's features h to the latent z; "none" is a class too (``Identity``).

    Attributes:
        input_channels: C_h, what the encoder must give.
        noise_channels: channels of noise that a sample takes; 0 where nothing is drawn.
        codes: what is sent, or None where z is continuous.
    """

    input_channels: int
    noise_channels: int
    codes: Codes | None

    def __call__(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C_h, *S) -> z (B, C, *S).

        ``sample`` draws from the posterior where there is one, with ``noise`` (B, noise_channels, *S), standard
        normal.
        """
        ...

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Codes, shaped as ``BottleneckOutput.indices`` -> z (B, C, *grid); ValueError where z is continuous."""
        ...


def refuse_indices() -> NoReturn:
    """What ``decode_indices`` of a continuous bottleneck does."""
    raise ValueError("this tokenizer's latent is continuous; it has no indices to decode")


def zero_loss(h: Tensor) -> Tensor:
    """The float32 zero of a bottleneck without a loss, on the device of h."""
    return torch.zeros((), dtype=torch.float32, device=h.device)
