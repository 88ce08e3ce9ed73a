"""Equivariance: what scaling and turning do to a picture, they shall do to its latent.

Letters: B batch, C latent channels, S pixels' sides, S' the latent's grid, f the spatial factor.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tokenizer.core import seeding
from tokenizer.regularizers.base import Draw, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec

STEPS = 32  # scales are whole numbers of 1/32


@dataclass(frozen=True, slots=True)
class Plan:
    """What one training step does.

    Attributes:
        where: "latent": latent and target are transformed; "picture": the picture is made smaller before the
            encoder, which keeps the prior on small pictures; "nowhere": an ordinary step.
        scale: of the sides, about; the grid has whole positions.
        turns: quarter turns, 0 to 3.
    """

    where: Literal["latent", "picture", "nowhere"]
    scale: float
    turns: int


def resize(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """x (B, ..., H, W) -> (B, ..., *sides), bilinear; the same sides are the identity."""
    if tuple(x.shape[-2:]) == sides:
        return x
    flat = x.reshape(x.shape[0], -1, *x.shape[-2:])
    return F.interpolate(flat, size=sides, mode="bilinear", align_corners=False).reshape(
        *x.shape[:-2], *sides
    )


def turn(x: Tensor, turns: int) -> Tensor:
    """Quarter turns of the last two axes of x; 0 is the identity."""
    return torch.rot90(x, k=turns, dims=(-2, -1))


def smaller(grid: tuple[int, ...], scale: float) -> tuple[int, int]:
    """The sides of a grid after scaling, whole and at least 1."""
    height, width = (max(1, round(side * scale)) for side in grid[-2:])
    return height, width


class Equivariance(Regularizer):
    """EQ-VAE: decode(T z) is asked for T x instead of decode(z) for x, in some of the steps.

    One transform a step, the same for all pictures and processes; the losses and the adversary see its target,
    so they must take pictures with any multiple of the factor as sides.

    Args:
        latent_probability: of a step that transforms the latent, by a scale below 1 and quarter turns.
        picture_probability: of the other steps, those that encode a smaller picture.
        min_scale: the smallest scale.
        rotate: whether the latent is turned too.

    Source: Kouzelis et al. 2025, EQ-VAE: Equivariance Regularized Latent Space for Improved Generative Image
    Modeling, arXiv 2502.09509, section 3; ranges and probabilities: the authors' public code, which calls the
    first probability p_prior and the second p_prior_s.
    """

    def __init__(
        self, latent_probability: float, picture_probability: float, min_scale: float, rotate: bool
    ) -> None:
        super().__init__()
        self.latent_probability = latent_probability
        self.picture_probability = picture_probability
        self.min_scale = min_scale
        self.rotate = rotate

    def plan(self, key: int) -> Plan:
        """What the step with this key does."""
        generator = seeding.generator(key, "equivariance")
        first, second = torch.rand(2, generator=generator).tolist()
        lowest = min(round(self.min_scale * STEPS), STEPS - 1)
        scale = int(torch.randint(lowest, STEPS, (), generator=generator)) / STEPS
        turns = int(torch.randint(1, 4, (), generator=generator))
        if first < self.latent_probability:
            return Plan("latent", scale, turns if self.rotate else 0)
        if second < self.picture_probability:
            return Plan("picture", scale, 0)
        return Plan("nowhere", 1.0, 0)

    def prepare(self, x: Tensor, draw: Draw) -> Tensor:
        """x (B, 3, *S) -> a smaller picture whose sides are multiples of the factor, or x itself."""
        plan = self.plan(draw.step)
        if plan.where != "picture":
            return x
        height, width = smaller(tuple(side // draw.factor for side in x.shape[-2:]), plan.scale)
        return resize(x, (height * draw.factor, width * draw.factor))

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """z (B, C, *S'), x (B, 3, *S) -> both transformed alike, or both as they are.

        Raises:
            ValueError: if the latent is no grid over the picture.
        """
        plan = self.plan(draw.step)
        if plan.where != "latent":
            return z, x
        if z.ndim != x.ndim:
            raise ValueError(f"eq_vae needs a latent with the picture's axes; this one is {tuple(z.shape)}")
        factor = x.shape[-1] // z.shape[-1]
        height, width = smaller(tuple(z.shape[-2:]), plan.scale)
        z, x = resize(z, (height, width)), resize(x, (height * factor, width * factor))
        return turn(z, plan.turns), turn(x, plan.turns)


class EquivarianceConfig(RegularizerSettings):
    """Latents that scale and turn with their pictures (EQ-VAE, arXiv 2502.09509); no penalty of its own."""

    kind: Literal["eq_vae"] = "eq_vae"
    latent_probability: float = Field(0.5, ge=0, le=1, description="of a step that transforms the latent")
    picture_probability: float = Field(
        0.25, ge=0, le=1, description="of the others, to encode a smaller picture"
    )
    min_scale: float = Field(0.25, gt=0, lt=1)
    rotate: bool = Field(True, description="quarter turns as well as scales")

    def check(self, part: PartSpec) -> None:
        """ValueError where the latent is no grid that could turn with the picture."""
        if part.layout == "1d" and self.latent_probability > 0:
            raise ValueError(
                "eq_vae: a row of tokens has no grid to scale and turn: set latent_probability=0"
            )

    def build(self, part: PartSpec) -> Equivariance:
        """The regularizer."""
        return Equivariance(self.latent_probability, self.picture_probability, self.min_scale, self.rotate)
