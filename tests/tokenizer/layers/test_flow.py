"""The straight path and the samplers along it."""

import math

import pytest
import torch

from tokenizer.layers.flow import (
    STEPS,
    clean_estimate,
    euler,
    heun,
    interpolate,
    lift,
    sample,
    shift_time,
    time_grid,
    velocity_target,
)


def noise(num: int = 3) -> torch.Tensor:
    return torch.randn(num, 5, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list(STEPS))
@pytest.mark.parametrize("num_steps", [1, 3])
def test_a_constant_field_is_followed_exactly(name: str, num_steps: int) -> None:
    eps = noise().double()
    v = torch.randn(3, 5, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = sample(name, lambda z_t, t: v, eps, time_grid(num_steps, shift=2.5).double())
    assert torch.allclose(z, eps - v, atol=1e-12)  # z = z_1 - 1 * (eps - z) for the straight path


def test_the_clean_estimate_of_a_straight_path_is_its_end_from_the_first_step_on() -> None:
    eps, v = noise(), torch.randn(3, 5, 2, 3, generator=torch.Generator().manual_seed(1))
    times = time_grid(5, shift=2.0)
    z_t = eps
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        z_next = STEPS["euler"](lambda z, t: v, z_t, t.expand(3), t_next.expand(3))
        assert torch.allclose(clean_estimate(z_t, z_next, t.expand(3), t_next.expand(3)), eps - v, atol=1e-5)
        z_t = z_next
    assert torch.equal(
        clean_estimate(eps, z_t, torch.ones(3), torch.zeros(3)), z_t
    )  # nothing is left to guess


def error(sampler: object, num_steps: int) -> float:
    """Distance from the solution e^(1 - t) of dz/dt = -z at t = 0, started at t = 1."""
    start = torch.ones(1, 1, dtype=torch.float64)
    times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    return float((sampler(lambda z, t: -z, start, times) - math.e).abs())  # type: ignore[operator]


def test_euler_is_first_order_and_heun_second() -> None:
    assert math.log2(error(euler, 32) / error(euler, 64)) == pytest.approx(1, abs=0.1)
    assert math.log2(error(heun, 32) / error(heun, 64)) == pytest.approx(2, abs=0.1)


def test_times_run_from_one_to_zero_and_the_shift_keeps_the_ends() -> None:
    assert torch.equal(time_grid(4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    for shift in (0.3, 1.0, 3.0):
        times = time_grid(10, shift=shift)
        assert (times[0], times[-1]) == (1.0, 0.0)
        assert (times.diff() < 0).all()
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.allclose(shift_time(shift_time(t, 3.0), 1 / 3.0), t)
    assert float(shift_time(torch.tensor(0.5), 3.0)) == pytest.approx(0.75)


def test_a_strength_starts_the_same_path_later() -> None:
    assert torch.equal(time_grid(10, shift=3.0, strength=1.0), time_grid(10, shift=3.0))
    assert torch.allclose(time_grid(10, shift=3.0, strength=0.7), time_grid(10, shift=3.0)[3:])
    assert torch.allclose(time_grid(4, strength=0.3), torch.tensor([0.3, 0.15, 0.0]))
    assert torch.equal(time_grid(4, shift=3.0, strength=0.0), torch.zeros(1))
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"strength must be from 0 .* to 1"):
            time_grid(4, strength=strength)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        time_grid(0)
    with pytest.raises(ValueError, match="choose one of euler, heun"):
        sample("ddim", lambda z, t: z, noise(), time_grid(1))


def test_the_path_runs_from_data_to_noise_at_its_velocity() -> None:
    z, eps = noise(), torch.randn(3, 5, 2, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(interpolate(z, eps, torch.zeros(3)), z)
    assert torch.equal(interpolate(z, eps, torch.ones(3)), eps)
    t = torch.tensor([0.2, 0.5, 0.9])
    slope = (interpolate(z, eps, t + 0.01) - interpolate(z, eps, t)) / 0.01
    assert torch.allclose(slope, velocity_target(z, eps), atol=1e-3)
    assert lift(t, z).shape == (3, 1, 1, 1)
