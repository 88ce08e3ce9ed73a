"""Rectified flow: a straight path from data to noise, and the network predicts its velocity.

z_t = (1 - t) z + t eps, v = eps - z, so t = 1 is noise. Sources: Liu et al. 2022, Flow Straight and Fast,
arXiv 2209.03003; Lipman et al. 2022, Flow Matching, arXiv 2210.02747; times: Esser et al. 2024, arXiv
2403.03206.

Letters: B batch, C latent channels, H' W' the latent's grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from diffusion.backbones.base import Denoiser
from diffusion.samplers import SamplerName, Velocity, guided, sample, shift_time, time_grid
from tokenizer.core import seeding
from tokenizer.core.config import Config
from tokenizer.layers.flow import interpolate, velocity_target


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of one training batch, each row drawn from its own sample's key.

    Attributes:
        t: (B,) float32 times in (0, 1), shifted.
        eps: (B, C, H', W') float32 standard normal noise.
        dropped: (B,) bool, samples whose label is replaced by the null label.
    """

    t: Tensor
    eps: Tensor
    dropped: Tensor


class RectifiedFlow:
    """The training loss and the sampler's velocity and times.

    Args:
        time_mean, time_std: of the normal whose logistic function is the training time.
        shift: of the training times, and of the sampler's unless ``sampling_shift`` is given.
        class_dropout: probability of training a sample without its label.
        guidance_interval: times in which guidance acts.
    """

    def __init__(
        self,
        *,
        time_mean: float = 0.0,
        time_std: float = 1.0,
        shift: float = 1.0,
        sampling_shift: float | None = None,
        class_dropout: float = 0.1,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.time_mean = time_mean
        self.time_std = time_std
        self.shift = shift
        self.sampling_shift = shift if sampling_shift is None else sampling_shift
        self.class_dropout = class_dropout
        self.guidance_interval = guidance_interval

    def draw(self, shape: Sequence[int], keys: Tensor) -> Draws:
        """One row of ``Draws`` for each key (B,); ``shape`` is (C, H', W').

        A row depends on its key alone, so neither the batch nor the number of processes changes it.
        """
        normals = seeding.normal((1,), keys, "time").squeeze(1)
        t = torch.sigmoid(self.time_mean + self.time_std * normals)
        return Draws(
            t=shift_time(t, self.shift),
            eps=seeding.normal(shape, keys, "noise"),
            dropped=seeding.uniform(keys, "class dropout") < self.class_dropout,
        )

    def loss(self, denoiser: Denoiser, z: Tensor, y: Tensor, keys: Tensor) -> Tensor:
        """Mean squared error of the velocity, float32, one value a sample (B,).

        Args:
            denoiser: the network, perhaps under autocast.
            z: (B, C, H', W') normalised latents.
            y: (B,) int64 labels.
            keys: (B,) int64, what each sample's time, noise and class dropout are drawn from.
        """
        draws = self.draw(z.shape[1:], keys)
        t, eps = draws.t.to(z.device), draws.eps.to(z.device)
        y = torch.where(draws.dropped.to(z.device), torch.full_like(y, denoiser.num_classes), y)
        z = z.float()
        v_hat = denoiser(interpolate(z, eps, t), t, y).float()
        return F.mse_loss(v_hat, velocity_target(z, eps), reduction="none").flatten(1).mean(dim=1)

    def velocity(
        self, denoiser: Denoiser, y: Tensor, guidance: float | Tensor = 1.0, *, always_double: bool = False
    ) -> Velocity:
        """The guided velocity that a sampler follows; see ``samplers.guided``."""
        return guided(denoiser, y, guidance, interval=self.guidance_interval, always_double=always_double)

    def times(self, num_steps: int, *, strength: float = 1.0) -> Tensor:
        """The sampler's num_steps + 1 times, shifted, from 1 to 0; fewer, from below 1, for a ``strength`` below 1."""
        return time_grid(num_steps, shift=self.sampling_shift, strength=strength)

    def sample(
        self,
        denoiser: Denoiser,
        eps: Tensor,
        y: Tensor,
        *,
        num_steps: int = 50,
        guidance: float | Tensor = 1.0,
        sampler: SamplerName = "euler",
    ) -> Tensor:
        """Noise eps (B, C, H', W') and labels y (B,) -> normalised latents z of the same shape."""
        return sample(sampler, self.velocity(denoiser, y, guidance), eps, self.times(num_steps))


class RectifiedFlowConfig(Config):
    """Straight paths, velocity prediction, logit-normal times (arXiv 2209.03003, 2403.03206)."""

    kind: Literal["rectified_flow"] = "rectified_flow"
    time_mean: float = 0.0
    time_std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=1.0, gt=0)
    sampling_shift: float | None = Field(default=None, gt=0)
    class_dropout: float = Field(default=0.1, ge=0, le=1)
    guidance_interval: tuple[float, float] = (0.0, 1.0)

    def build(self) -> RectifiedFlow:
        """The generator."""
        return RectifiedFlow(**self.model_dump(exclude={"kind"}))
