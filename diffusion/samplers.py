"""Guidance for samplers; the samplers themselves, which know neither network nor labels, are ``tokenizer.layers.flow``.

Letters: B batch.
"""

import torch
from torch import Tensor

from diffusion.backbones.base import Denoiser
from tokenizer.layers.flow import (
    STEPS,
    SamplerName,
    Velocity,
    clean_estimate,
    euler,
    heun,
    lift,
    sample,
    shift_time,
    time_grid,
)

__all__ = [
    "STEPS",
    "SamplerName",
    "Velocity",
    "clean_estimate",
    "euler",
    "guided",
    "heun",
    "sample",
    "shift_time",
    "time_grid",
]


def guided(
    denoiser: Denoiser,
    y: Tensor,
    guidance: float | Tensor,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    always_double: bool = False,
) -> Velocity:
    """The velocity under classifier-free guidance, on all channels: v_null + guidance (v_class - v_null).

    Args:
        denoiser: the network.
        y: (B,) labels.
        guidance: one value, or one a sample (B,); 1 is exactly the class-conditional velocity.
        interval: times in which guidance acts; outside it is 1.
        always_double: evaluate the null half even where no sample needs it, so that the shape of the
            network's batch does not depend on who is in it.

    Source: Ho and Salimans 2022, Classifier-Free Diffusion Guidance, arXiv 2207.12598; the interval:
    Kynkaanniemi et al. 2024, Applying Guidance in a Limited Interval, arXiv 2404.07724.
    """
    weight = torch.as_tensor(guidance, dtype=torch.float32, device=y.device).expand(len(y))
    null = torch.full_like(y, denoiser.num_classes)

    def velocity(z_t: Tensor, t: Tensor) -> Tensor:
        acts = (weight != 1.0) & (t >= interval[0]) & (t <= interval[1])
        if not always_double and not bool(acts.any()):
            return denoiser(z_t, t, y)
        both = denoiser(torch.cat([z_t, z_t]), torch.cat([t, t]), torch.cat([y, null]))
        v_class, v_null = both.chunk(2)
        mixed = v_null + lift(weight, v_null) * (v_class - v_null)
        return torch.where(lift(acts, v_null), mixed, v_class)

    return velocity
