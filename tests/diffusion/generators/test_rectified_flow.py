"""The rectified flow path, its loss and its draws."""

import math

import pytest
import torch
from torch import Tensor, nn

from diffusion.generators import GeneratorConfig
from diffusion.generators.rectified_flow import Draws, RectifiedFlow
from tokenizer.layers.flow import interpolate, velocity_target

SHAPE = (2, 3, 4)


class Recorder(nn.Module):
    """Answers zero, or the truth about one z, and remembers what it was asked."""

    latent_shape = SHAPE
    num_classes = 7

    def __init__(self, z: Tensor | None = None) -> None:
        super().__init__()
        self.z = z

    def forward(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.asked = (z_t, t, y)
        # On the path z_t - z = t (eps - z), so the true velocity is (z_t - z) / t.
        return torch.zeros_like(z_t) if self.z is None else (z_t - self.z) / t[:, None, None, None]


def keys(num: int, first: int = 0) -> Tensor:
    return torch.arange(first, first + num)


def latents(num: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(99)
    return torch.randn(num, *SHAPE, generator=generator), torch.arange(num) % 7


def test_the_path_joins_data_and_noise_at_constant_velocity() -> None:
    z, eps = (torch.randn(4, *SHAPE, dtype=torch.float64) for _ in range(2))
    assert torch.equal(interpolate(z, eps, torch.zeros(4)), z)
    assert torch.equal(interpolate(z, eps, torch.ones(4)), eps)
    t = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64, requires_grad=True)
    z_t = interpolate(z, eps, t)
    v = velocity_target(z, eps)
    assert torch.allclose(z_t - t[:, None, None, None] * v, z)
    (slope,) = torch.autograd.grad(z_t.sum(), t)
    assert torch.allclose(slope, v.flatten(1).sum(1))


def test_the_loss_is_zero_for_the_truth_and_the_variance_for_nothing() -> None:
    z, y = latents(64)
    flow = RectifiedFlow()
    draws = flow.draw(SHAPE, keys(64))
    assert float(flow.loss(Recorder(z), z, y, keys(64)).max()) < 1e-8
    nothing = flow.loss(Recorder(), z, y, keys(64))
    assert nothing.shape == (64,)
    assert torch.allclose(nothing, (draws.eps - z).square().flatten(1).mean(1))
    assert float(nothing.mean()) == pytest.approx(2.0, rel=0.1)  # unit noise minus unit data


def test_each_row_is_drawn_from_its_own_key() -> None:
    flow = RectifiedFlow()
    together = flow.draw(SHAPE, keys(4))
    for row in range(4):
        alone = flow.draw(SHAPE, keys(1, first=row))
        assert torch.equal(together.eps[row], alone.eps[0])
        assert torch.equal(together.t[row], alone.t[0])
        assert torch.equal(together.dropped[row], alone.dropped[0])


def test_times_are_logit_normal_and_shifted() -> None:
    for shift in (1.0, 3.0):
        flow = RectifiedFlow(time_mean=0.5, time_std=0.8, shift=shift)
        t = flow.draw((1, 1, 1), keys(4000)).t
        unshifted = t / (shift - (shift - 1) * t)
        normal = torch.logit(unshifted.double())
        assert float(normal.mean()) == pytest.approx(0.5, abs=0.05)
        assert float(normal.std()) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_class_dropout_replaces_labels_by_the_null_label_at_its_rate(rate: float) -> None:
    z, y = latents(2000)
    flow, network = RectifiedFlow(class_dropout=rate), Recorder()
    draws = flow.draw(SHAPE, keys(2000))
    flow.loss(network, z, y, keys(2000))
    asked = network.asked[2]
    assert torch.equal(asked == 7, draws.dropped)
    assert torch.equal(asked[~draws.dropped], y[~draws.dropped])
    assert float(draws.dropped.float().mean()) == pytest.approx(
        rate, abs=4 * math.sqrt(rate * (1 - rate) / 2000)
    )


def test_the_loss_is_float32_under_autocast() -> None:
    z, y = latents(4)
    network = nn.Conv2d(2, 2, 1)
    flow = RectifiedFlow()

    class Half(Recorder):
        def forward(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return network(z_t)

    with torch.autocast("cpu", torch.bfloat16):
        loss = flow.loss(Half(), z, y, keys(4))
    assert loss.dtype == torch.float32


def test_sampling_recovers_the_data_of_a_true_velocity() -> None:
    z, y = latents(4)
    eps = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(5))

    class Truth(Recorder):
        def forward(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return eps - z

    for shift in (1.0, 3.0):
        flow = RectifiedFlow(shift=shift)
        assert torch.allclose(flow.sample(Truth(), eps, y, num_steps=5), z, atol=1e-5)


def test_config_builds_what_it_says_and_knows_its_keys() -> None:
    flow = GeneratorConfig.parse({"kind": "rectified_flow", "shift": 2.0, "class_dropout": 0.2}).build()
    assert (flow.shift, flow.sampling_shift, flow.class_dropout) == (2.0, 2.0, 0.2)
    assert float(flow.times(2)[1]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="class_dropout"):
        GeneratorConfig.parse({"class_dropout": 1.5})
    with pytest.raises(ValueError, match="sigma"):
        GeneratorConfig.parse({"sigma": 1})


def test_draws_hold_the_three_random_parts() -> None:
    draws = RectifiedFlow().draw(SHAPE, keys(2))
    assert isinstance(draws, Draws)
    assert draws.eps.shape == (2, *SHAPE)
    assert draws.t.shape == draws.dropped.shape == (2,)
