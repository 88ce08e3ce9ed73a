"""Latent consistency: zero for a fixed point, half the squared distance otherwise, gradients to both halves."""

import pytest
import torch
from torch import Tensor

from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.bottlenecks.kl import Posterior
from tokenizer.config import TokenizerConfig
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.consistency import LatentConsistencyConfig
from tokenizer.spec import PartSpec

GRID = PartSpec(channels=4)


def step_of(x_hat: Tensor, target: Tensor) -> StepOutput:
    z = torch.zeros(1, 1, 1, 1)
    return StepOutput(x_hat, z, BottleneckOutput(z=z, loss=torch.zeros(())), target=target)


def test_it_is_half_the_squared_distance_of_the_latents() -> None:
    x, x_hat = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    got = LatentConsistencyConfig().build(GRID).penalty(step_of(x_hat, x), lambda pixels: 2.0 * pixels)
    assert got.item() == pytest.approx((0.5 * (2 * x_hat - 2 * x).square()).mean().item())


def test_it_is_the_divergence_of_unit_gaussians() -> None:
    x, x_hat = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    got = LatentConsistencyConfig().build(GRID).penalty(step_of(x_hat, x), lambda pixels: pixels)
    divergence = Posterior(x_hat - x, torch.zeros_like(x)).kl().mean()
    assert got.item() == pytest.approx(divergence.item(), rel=1e-5)


def test_a_perfect_reconstruction_pays_nothing_whatever_the_encoder() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert LatentConsistencyConfig().build(GRID).penalty(step_of(x, x.clone()), torch.sin).item() == 0.0


def test_the_picture_s_latent_is_held_fixed() -> None:
    x, x_hat = torch.rand(1, 3, 2, 2).requires_grad_(), torch.rand(1, 3, 2, 2).requires_grad_()
    LatentConsistencyConfig().build(GRID).penalty(step_of(x_hat, x), lambda pixels: 3.0 * pixels).backward()
    assert x.grad is None
    assert x_hat.grad is not None
    torch.testing.assert_close(x_hat.grad, 9.0 * (x_hat - x).detach() / 12)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
def test_it_trains_encoder_and_decoder_and_lowers_itself(tiny_config: TokenizerConfig, half: bool) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    module = Regularized(model, {"latent_consistency": LatentConsistencyConfig().build(GRID)})
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    draw = Draw(torch.arange(4), 0, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for turn in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            penalty = module(x, draw).penalties["latent_consistency"]
        penalty.backward()
        if turn == 0:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
        optimizer.step()
        values.append(penalty.item())
    assert values[-1] < 0.5 * values[0]
