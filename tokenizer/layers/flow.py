"""A straight path from data to noise, and samplers: functions that follow a velocity field along it, back to data.

x_t = (1 - t) x + t eps, v = eps - x, so t = 1 is noise. What generators in latent space and decoders that draw pixels
share; nothing here knows a network or its conditions. A step takes one time a sample, so that a server can advance
samples that are at different times in one batch.

Sources: Liu et al. 2022, Flow Straight and Fast, arXiv 2209.03003; Lipman et al. 2022, Flow Matching, arXiv 2210.02747.

Letters: B batch.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
SamplerName = Literal["euler", "heun"]


def interpolate(z: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """z_t = (1 - t) z + t eps; z and eps (B, ...), t (B,)."""
    t = t.view(-1, *(1,) * (z.ndim - 1))
    return (1 - t) * z + t * eps


def velocity_target(z: Tensor, eps: Tensor) -> Tensor:
    """v = eps - z, the derivative of z_t by t; constant along the path."""
    return eps - z


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
    return z_t + lift(t_next - t, z_t) * velocity(z_t, t)


def heun_step(velocity: Velocity, z_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """z_t (B, ...) at times t (B,) -> z at t_next (B,), two evaluations, second order.

    Source: Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models,
    arXiv 2206.00364, algorithm 1, for a velocity that is finite everywhere, so the last step is corrected
    too.
    """
    step = lift(t_next - t, z_t)
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
    slope = (z_next - z_t) / lift(t_next - t, z_t)
    return z_next - lift(t_next, z_t) * slope


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


def lift(value: Tensor, like: Tensor) -> Tensor:
    """value (B,) -> (B, 1, ...) with the rank of ``like``, in its dtype unless boolean."""
    value = value.view(-1, *(1,) * (like.ndim - 1))
    return value if value.dtype == torch.bool else value.to(like.dtype)
