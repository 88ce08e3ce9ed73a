"""What a denoiser is, whoever writes the network.

Letters: B batch, C latent channels, H' W' the latent's grid, N tokens of a latent that is a row of them.
"""

from typing import Protocol

from torch import Tensor

LatentShape = tuple[int, int, int] | tuple[int, int]  # (C, H', W') of a grid, (C, N) of a row


class Denoiser(Protocol):
    """Predicts the velocity of noisy latents.

    Attributes:
        latent_shape: (C, H', W') or (C, N) of one latent.
        num_classes: labels are 0 .. num_classes - 1; ``num_classes`` itself is the null label, "no class".
    """

    latent_shape: LatentShape
    num_classes: int

    def __call__(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """z_t (B, *latent_shape), t (B,) in [0, 1] with 1 = noise, y (B,) int64 -> v of the shape of z_t."""
        ...
