"""Samplers: functions that follow a velocity field from noise (t = 1) to data (t = 0).

They know neither the network nor the labels; guidance wraps the velocity (``guided``). A step takes one time
a sample, so a server can advance latents that are at different times in one batch.

Letters: B batch.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffusion.backbones.base import Denoiser

Velocity = Callable[[Tensor, Tensor], Tensor]
SamplerName = Literal["euler", "heun"]


def shift_time(t: Tensor, shift: float) -> Tensor:
    """t' = s t / (1 + (s - 1) t): keeps 0 and 1, s > 1 moves times towards noise.

    Source: Esser et al. 2024, Scaling Rectified Flow Transformers, arXiv 2403.03206, on
    resolution-dependent shifting of timesteps.
    """
    return shift * t / (1 + (shift - 1) * t)


def time_grid(num_steps: int, *, shift: float = 1.0, strength: float = 1.0) -> Tensor:
    """The times of a sampler, float32, from 1 down to 0 in num_steps even steps before the shift.

    A ``strength`` below 1 starts the same path at that time, before the shift, with as many steps as its share of
    num_steps needs, rounded up: ceil(strength num_steps) + 1 times; none but 0 for strength 0.

    Raises:
        ValueError: if num_steps is below 1, or strength is not in [0, 1].
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must be from 0 (the picture itself) to 1 (noise), got {strength}")
    left = math.ceil(strength * num_steps - 1e-9)  # 0.7 of 10 steps is 7, whatever the product rounds to
    return shift_time(torch.linspace(strength, 0.0, left + 1, dtype=torch.float64), shift).float()


def euler_step(velocity: Velocity, z_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """z_t (B, ...) at times t (B,) -> z at t_next (B,), one evaluation, first order."""
    return z_t + _lift(t_next - t, z_t) * velocity(z_t, t)


def heun_step(velocity: Velocity, z_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """z_t (B, ...) at times t (B,) -> z at t_next (B,), two evaluations, second order.

    Source: Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models,
    arXiv 2206.00364, algorithm 1, for a velocity that is finite everywhere, so the last step is corrected
    too.
    """
    step = _lift(t_next - t, z_t)
    first = velocity(z_t, t)
    second = velocity(z_t + step * first, t_next)
    return z_t + step * (first + second) / 2


STEPS: dict[SamplerName, Callable[[Velocity, Tensor, Tensor, Tensor], Tensor]] = {
    "euler": euler_step,
    "heun": heun_step,
}


def clean_estimate(z_t: Tensor, z_next: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """Where the straight line through a step from t to t_next (B,) meets t = 0: the picture that previews show.

    For a rectified flow it is the expected clean latent of an Euler step, z_t - t v; after the last step, z_next
    itself.
    """
    slope = (z_next - z_t) / _lift(t_next - t, z_t)
    return z_next - _lift(t_next, z_t) * slope


def euler(velocity: Velocity, z: Tensor, times: Tensor) -> Tensor:
    """Follow ``velocity`` by Euler steps from z (B, ...) at times[0] to times[-1]; times (num_steps + 1,)."""
    return sample("euler", velocity, z, times)


def heun(velocity: Velocity, z: Tensor, times: Tensor) -> Tensor:
    """Follow ``velocity`` by Heun steps from z (B, ...) at times[0] to times[-1]; times (num_steps + 1,)."""
    return sample("heun", velocity, z, times)


def sample(sampler: SamplerName, velocity: Velocity, z: Tensor, times: Tensor) -> Tensor:
    """Run the named sampler.

    Raises:
        ValueError: listing the samplers there are.
    """
    if sampler not in STEPS:
        raise ValueError(f"no sampler {sampler!r}: choose one of {', '.join(STEPS)}")
    step = STEPS[sampler]
    times = times.to(z.device)
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        z = step(velocity, z, t.expand(len(z)), t_next.expand(len(z)))
    return z


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
            network's
            batch does not depend on who is in it.

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
        mixed = v_null + _lift(weight, v_null) * (v_class - v_null)
        return torch.where(_lift(acts, v_null), mixed, v_class)

    return velocity


def _lift(value: Tensor, like: Tensor) -> Tensor:
    """value (B,) -> (B, 1, ...) with the rank of ``like``, in its dtype unless boolean."""
    value = value.view(-1, *(1,) * (like.ndim - 1))
    return value if value.dtype == torch.bool else value.to(like.dtype)
