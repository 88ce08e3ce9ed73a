"""Guidance, and the steps under it."""

import torch
from torch import Tensor

from diffusion.samplers import STEPS, guided, time_grid


class AffineDenoiser:
    """v = y + t + z_t channel by channel scaled; the null label gives another field on every channel."""

    latent_shape = (5, 2, 3)
    num_classes = 4

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.batches.append(len(z_t))
        channel = torch.arange(1.0, 6.0)[:, None, None]
        return 0.3 * z_t + channel * (1.0 + y.float() + t)[:, None, None, None]


def noise(num: int = 3) -> Tensor:
    return torch.randn(num, 5, 2, 3, generator=torch.Generator().manual_seed(0))


def test_steps_take_one_time_a_sample() -> None:
    """Three samples at three stages of the same schedule advance as each would alone."""
    denoiser, y = AffineDenoiser(), torch.tensor([0, 1, 2])
    times = time_grid(8)
    for step in STEPS.values():
        together = step(guided(denoiser, y, 2.0), noise(), times[[0, 3, 7]], times[[1, 4, 8]])
        for row, index in enumerate((0, 3, 7)):
            pick = slice(row, row + 1)
            velocity = guided(denoiser, y[pick], 2.0)
            alone = step(velocity, noise()[pick], times[index : index + 1], times[index + 1 : index + 2])
            assert torch.equal(together[pick], alone)


def test_guidance_one_is_no_guidance_and_costs_nothing() -> None:
    denoiser, y, t = AffineDenoiser(), torch.tensor([0, 1, 2]), torch.full((3,), 0.5)
    expected = denoiser(noise(), t, y)
    assert torch.equal(guided(denoiser, y, 1.0)(noise(), t), expected)
    assert denoiser.batches == [3, 3]
    assert torch.equal(guided(denoiser, y, 1.0, always_double=True)(noise(), t), expected)
    assert denoiser.batches == [3, 3, 6]


def test_guidance_extrapolates_on_every_channel() -> None:
    denoiser, y, t = AffineDenoiser(), torch.tensor([0, 1, 2]), torch.full((3,), 0.5)
    v_class, v_null = denoiser(noise(), t, y), denoiser(noise(), t, torch.full_like(y, 4))
    out = guided(denoiser, y, 3.0)(noise(), t)
    assert torch.allclose(out, v_null + 3 * (v_class - v_null), atol=1e-5)
    assert ((out - v_class).abs().amin(dim=(2, 3)) > 0.1).all()  # B, C: no channel is left out


def test_guidance_of_each_sample_is_its_own() -> None:
    denoiser, y, t = AffineDenoiser(), torch.tensor([0, 1, 2]), torch.full((3,), 0.5)
    mixed = guided(denoiser, y, torch.tensor([1.0, 2.0, 5.0]))(noise(), t)
    for row, guidance in enumerate((1.0, 2.0, 5.0)):
        assert torch.equal(mixed[row], guided(denoiser, y, guidance, always_double=True)(noise(), t)[row])


def test_guidance_acts_inside_its_interval_only() -> None:
    denoiser, y = AffineDenoiser(), torch.tensor([0, 1, 2])
    t = torch.tensor([0.1, 0.5, 0.9])
    plain = guided(denoiser, y, 1.0)(noise(), t)
    inside = guided(denoiser, y, 3.0, interval=(0.3, 0.7))(noise(), t)
    assert torch.equal(inside[[0, 2]], plain[[0, 2]])
    assert not torch.allclose(inside[1], plain[1], atol=0.1)
