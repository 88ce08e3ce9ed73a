"""What a denoiser is, whoever writes the network.

Letters: B batch, C latent channels, H' W' the latent's grid.
"""

from typing import Protocol

from torch import Tensor


class Denoiser(Protocol):
    """Predicts the velocity of noisy latents.

    Attributes:
        latent_shape: (C, H', W') of one latent.
        num_classes: labels are 0 .. num_classes - 1; ``num_classes`` itself is the null label, "no class".
    """

    latent_shape: tuple[int, int, int]
    num_classes: int

    def __call__(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """z_t (B, C, H', W'), t (B,) in [0, 1] with 1 = noise, y (B,) int64 -> v (B, C, H', W')."""
        ...
