"""Whether a latent turns and shrinks with its picture.

For a transform tau of pictures that acts on a grid of latents just so, two numbers: how far E(tau x) is from
tau E(x), and how close the decoder comes to tau x when it reads tau E(x). Transforms: ``rot90``, a quarter turn;
``scale``, means of 2x2; ``shift``, one cell of the latent up and to the left, what leaves the picture cut off.

Source: Kouzelis, Kakogeorgiou, Gidaris and Komodakis 2025, EQ-VAE: Equivariance Regularized Latent Space for
Improved Generative Image Modeling, arXiv 2502.09509, section 3.

Letters: B pictures, C latent channels, R resolution.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent

TransformName = Literal["rot90", "scale", "shift"]
# (grid, side of a latent's cell on it: the spatial factor for pixels, 1 for the latent) -> grid
TRANSFORMS: dict[TransformName, Callable[[Tensor, int], Tensor]] = {
    "rot90": lambda x, cell: torch.rot90(x, 1, (-2, -1)),
    "scale": lambda x, cell: F.avg_pool2d(x, 2),
    "shift": lambda x, cell: x[..., cell:, cell:],
}


class Equivariance(NamedTuple):
    """Over a set of pictures.

    Attributes:
        error: norm of E(tau x) - tau E(x) over that of E(tau x), latents normalised: 0 if equivariant, about 1.4
            if unrelated.
        psnr: mean PSNR in dB of what the decoder makes of tau E(x) against tau x.
    """

    error: float
    psnr: float


class EquivarianceError:
    """Accumulates over batches.

    Args:
        transform: which.
    """

    def __init__(self, transform: TransformName) -> None:
        self.transform = transform
        self._difference = 0.0
        self._norm = 0.0
        self._mse: list[float] = []

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        """Add uint8 pictures (B, 3, R, R), on the tokenizer's device, and their latent.

        Raises:
            NotComputedError: if the latent has no grid on which the transform acts.
        """
        tau = TRANSFORMS[self.transform]
        self._check(tokenizer, real)
        x = tau(from_uint8(real), tokenizer.spec.z.spatial_factor)
        size = (int(x.shape[-2]), int(x.shape[-1]))
        turned = tau(latent.z.float(), 1)
        direct = tokenizer.encode(x).z.float()
        self._difference += float((direct - turned).double().square().sum())
        self._norm += float(direct.double().square().sum())
        x_hat = tokenizer.decode(Latent({tokenizer.spec.z.name: turned.to(latent.z)}, size, latent.spec_id))
        self._mse += mean_squared_error(to_uint8(x), to_uint8(x_hat)).tolist()

    def compute(self) -> Equivariance:
        """Both numbers; ValueError if no picture was given."""
        if not self._mse:
            raise ValueError("no pictures were given")
        psnr = decibels(torch.tensor(self._mse, dtype=torch.float64).clamp_min(1e-10)).mean()
        return Equivariance(math.sqrt(self._difference / max(self._norm, 1e-30)), float(psnr))

    def _check(self, tokenizer: Tokenizer, real: Tensor) -> None:
        parts = tokenizer.spec.parts
        if len(parts) != 1 or parts[0].layout != "2d":
            raise NotComputedError("a latent that is one grid", "use another measure for this family")
        cell = parts[0].spatial_factor
        if self.transform == "shift" and any(side < 2 * cell or side % cell for side in real.shape[-2:]):
            raise NotComputedError(
                f"sides that are multiples of {cell}, at least {2 * cell}, got {tuple(real.shape[-2:])}",
                "choose another resolution",
            )
        step = 2 * cell
        if self.transform == "scale" and any(side % step for side in real.shape[-2:]):
            raise NotComputedError(
                f"sides that are multiples of {step}, got {tuple(real.shape[-2:])}",
                "choose another resolution",
            )
