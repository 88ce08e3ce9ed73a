"""VF loss: the latent's directions and its positions' mutual similarities are those of a frozen encoder, to a margin.

Letters: B batch, C latent channels, H' W' the latent's grid, N = H' W', D channels of the frozen encoder.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.frozen import Frozen, FrozenConfig
from tokenizer.layers.precision import full_precision
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Draw, Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec

MAX_RATIO = 1e8  # as in the authors' code


class Balance(torch.autograd.Function):
    """One latent for two readers; the second's gradient is brought to the length of the first's.

    The gradient is g1 + weight |g1| / |g2| g2, with g2 the second's before its ``weight``.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: float) -> tuple[Tensor, Tensor]:  # torch's context has no type
        """z twice, as tensors of their own."""
        ctx.weight = weight
        return z.clone(), z.clone()

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, None]:
        """Both readers' gradients to one."""
        length = second.float().norm() / ctx.weight
        ratio = (first.float().norm() / length.clamp_min(1e-12)).clamp_max(MAX_RATIO)
        return first + (ratio * second.float()).to(first), None


class VisionFoundation(Regularizer):
    """mean relu(1 - m1 - cos(p_i, f_i)) + mean relu(|cos(p_i, p_j) - cos(f_i, f_j)| - m2), p a linear map of z.

    With ``weight`` the penalty's gradient at the latent is that many times as long as the gradient of all that is asked
    of the reconstruction. The paper compares both at the encoder's last layer; at the latent they meet in the
    one backward pass that there is.

    Args:
        frozen: gives f at the latent's grid.
        channels: C.
        cosine_margin: m1.
        distance_margin: m2.
        weight: of the penalty, if adaptive; None if not.

    Source: Yao and Wang 2025, Reconstruction vs. Generation: Taming Optimization Dilemma in Latent Diffusion Models
    (VA-VAE), arXiv 2501.01423, section 3.2 (marginal cosine similarity loss, marginal distance matrix similarity loss,
    adaptive weighting); the map goes from the latent to the encoder's width, as in its released training code.
    """

    def __init__(
        self,
        frozen: Frozen,
        channels: int,
        cosine_margin: float,
        distance_margin: float,
        weight: float | None,
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.cosine_margin, self.distance_margin = cosine_margin, distance_margin
        self.weight = weight
        self.project = nn.Conv2d(channels, frozen.channels, 1, bias=False)
        self._z: Tensor | None = None  # from perturb to penalty, in one pass

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """z (B, C, H', W') unchanged; its gradient is balanced if the weight is adaptive."""
        self._z = z
        if self.weight and z.requires_grad:
            read, self._z = Balance.apply(z, self.weight)
            return read, x
        return z, x

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0."""
        assert self._z is not None  # perturb comes first
        z, self._z = self._z, None
        with full_precision(z.device):
            wanted = self.frozen(step.target, tuple(z.shape[2:])).flatten(2)  # (B, D, N)
            told = self.project(z.float()).flatten(2)
            cosine = F.relu(1.0 - self.cosine_margin - F.cosine_similarity(told, wanted, dim=1)).mean()
            told, wanted = F.normalize(told, dim=1), F.normalize(wanted, dim=1)
            apart = (told.transpose(1, 2) @ told - wanted.transpose(1, 2) @ wanted).abs()  # (B, N, N)
            return cosine + F.relu(apart - self.distance_margin).mean()


class VisionFoundationConfig(RegularizerSettings):
    """The latent takes a frozen encoder's directions and similarities (VF loss of VA-VAE, arXiv 2501.01423)."""

    kind: Literal["vf"] = "vf"
    frozen: FrozenConfig
    cosine_margin: float = Field(default=0.5, ge=0, description="m1: cosines above 1 - m1 cost nothing")
    distance_margin: float = Field(
        default=0.25, ge=0, description="m2: similarities closer than it cost nothing"
    )
    adaptive: bool = Field(
        default=True, description="weight is relative to the gradient of the reconstruction at the latent"
    )

    def check(self, part: PartSpec) -> None:
        """ValueError where the latent has no grid of positions."""
        if part.layout != "2d":
            raise ValueError("vf compares positions of a grid: take alignment for a row of tokens")

    def build(self, part: PartSpec) -> VisionFoundation:
        """The regularizer.

        Raises:
            ValueError: if the frozen encoder's files are missing.
        """
        weight = self.weight if self.adaptive else None
        return VisionFoundation(
            self.frozen.open(), part.channels, self.cosine_margin, self.distance_margin, weight
        )
