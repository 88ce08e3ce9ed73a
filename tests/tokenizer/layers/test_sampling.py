"""Decoders that draw: closed forms of the path, one noise for all, more steps nearer to the distribution."""

import pytest
import torch
from torch import Tensor

from tokenizer.layers.sampling import EARLIEST, SamplingDecoder, noise_field, with_noise, without_noise

SPREAD = 0.25


class Gaussian(SamplingDecoder):
    """The exact velocity where the picture given z is normal with mean z, enlarged, and deviation SPREAD."""

    def condition(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        return z.repeat_interleave(size[0] // z.shape[2], 2).repeat_interleave(size[1] // z.shape[3], 3)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        variance = ((1 - t) * SPREAD) ** 2 + t**2
        residual = x_t - (1 - t) * condition
        x_0 = condition + (1 - t) * SPREAD**2 / variance * residual
        if self.predicts == "picture":
            return x_0
        eps = t / variance * residual
        return eps - x_0


def decoder(**changes: object) -> Gaussian:
    return Gaussian(**({"num_steps": 4} | changes))  # type: ignore[arg-type]  # of the base class


def latents() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_more_steps_come_nearer_to_the_distribution_and_one_gives_its_mean() -> None:
    z = latents()
    noise = noise_field((64, 64), torch.Generator().manual_seed(1))
    mean = decoder().condition(z, (64, 64))
    deviations = [float((decoder().sample(z, noise, steps) - mean).std()) for steps in (1, 2, 4, 8, 32, 128)]
    assert deviations[0] == pytest.approx(0.0, abs=1e-5)
    gaps = [abs(found - SPREAD) for found in deviations]
    assert all(after < before for before, after in zip(gaps, gaps[1:], strict=False))
    assert gaps[-1] < 0.01


@pytest.mark.parametrize("predicts", ["velocity", "picture"])
def test_what_training_sees_of_an_exact_network(predicts: str) -> None:
    """The target's mean given x_t is the velocity: the loss is the variance that is left, and no sample is lower."""
    z, keys = latents(), torch.tensor([3, 4])
    exact = decoder(predicts=predicts)
    mean = exact.condition(z, (64, 64))
    x = mean + SPREAD * torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    drawn = exact.learn(z, x, keys)
    v, target = drawn.extras["velocity"], drawn.extras["velocity_target"]
    assert torch.allclose(exact.learn(z, x, keys).extras["velocity"], v)  # a function of keys
    assert not torch.allclose(exact.learn(z, x, keys + 1).extras["velocity_target"], target)
    both = exact.learn(z.flip(0), x.flip(0), keys.flip(0)).extras["velocity_target"]
    assert torch.equal(both.flip(0), target)  # whatever else is in the batch
    loss = (v - target).square().mean()
    assert ((1.1 * v - target).square().mean() > loss).all()
    assert ((0.9 * v - target).square().mean() > loss).all()
    assert (drawn.x_hat - x).std() < SPREAD  # the estimate of one step is nearer than any draw


def test_a_predicted_picture_becomes_a_velocity_that_leads_to_it() -> None:
    x_t, t = torch.randn(1, 3, 8, 8), torch.tensor([0.4])
    z = latents()[:1, :, :1, :1]
    exact = decoder(predicts="picture")
    condition = exact.condition(z, (8, 8))
    v = exact.velocity(x_t, t, condition)
    torch.testing.assert_close(x_t - 0.4 * v, exact(x_t, t, condition))
    late = exact.velocity(x_t, torch.tensor([0.0]), condition)
    torch.testing.assert_close(late, (x_t - exact(x_t, torch.tensor([0.0]), condition)) / EARLIEST)


def test_the_same_noise_gives_the_same_picture_whoever_is_beside_it() -> None:
    z = latents()
    first = decoder().sample(z, noise_field((16, 16)))
    assert torch.equal(decoder().sample(z, noise_field((16, 16))), first)
    torch.testing.assert_close(decoder().sample(z[1:], noise_field((16, 16))), first[1:])
    seeds = [noise_field((16, 16), torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.allclose(decoder().sample(z, seeds[0]), decoder().sample(z, seeds[2]), atol=1e-3)


def test_without_noise_it_is_an_ordinary_decoder() -> None:
    z, plain = latents(), decoder(noisy=False)
    assert plain.num_steps == 1
    one = plain.sample(z, noise_field((16, 16)))
    assert torch.equal(plain.sample(z, torch.randn(1, 3, 16, 16)), one)
    x = torch.rand(2, 3, 16, 16)
    drawn = plain.learn(z, x, torch.tensor([1, 2]))
    assert torch.equal(drawn.x_hat, one)  # training and decoding are the same pass
    assert torch.equal(drawn.extras["velocity_target"], -x)


def test_noise_travels_beside_the_latent() -> None:
    z, noise = latents(), noise_field((32, 32))
    both = with_noise(z, noise, 4)
    assert both.shape == (2, 3 + 48, 8, 8)
    piece, its_noise = without_noise(both[:, :, 2:5, 1:7], 3, 4)
    assert torch.equal(piece, z[:, :, 2:5, 1:7])
    assert torch.equal(its_noise, noise[:, :, 8:20, 4:28].expand(2, -1, -1, -1))
    joined, draw = decoder().beside(z, noise, 4)
    torch.testing.assert_close(draw(joined), decoder().sample(z, noise))


def test_the_answer_has_the_latents_type_and_steps_are_counted() -> None:
    z = latents().double()
    assert decoder().sample(z, noise_field((16, 16))).dtype == torch.float64
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        decoder().sample(z, noise_field((16, 16)), 0)
