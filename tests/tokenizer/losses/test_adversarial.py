"""Gradients of the two players stay where they belong."""

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokenizer.losses.adversarial import Adversary, AdversaryConfig


def players(**changes: object) -> tuple[nn.Conv2d, Adversary, Tensor]:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 1)
    config = AdversaryConfig.parse({"width": 8, "num_layers": 2} | changes)
    return layer, Adversary(config, Accelerator(cpu=True), layer.weight, 100, 2), torch.randn(2, 3, 32, 32)


def test_the_autoencoders_turn_leaves_no_gradient_in_the_discriminator() -> None:
    layer, adversary, x = players()
    x_hat = layer(x)
    reconstruction = (x_hat - x).abs().mean()
    (reconstruction + adversary.term(x_hat, reconstruction).loss).backward()
    assert layer.weight.grad is not None
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in adversary.discriminator.parameters())


def test_the_discriminators_turn_leaves_no_gradient_in_the_autoencoder() -> None:
    layer, adversary, x = players()
    adversary.learn(x, layer(x), micro_batches=1, last=True)
    assert layer.weight.grad is None
    assert all(parameter.grad is not None for parameter in adversary.discriminator.parameters())


def test_it_learns_to_tell_them_apart() -> None:
    _, adversary, x = players(optim={"lr": 2e-3})
    first = last = 0.0
    for step in range(30):
        stats = adversary.learn(x, 0.1 * x, micro_batches=1, last=True)
        adversary.step(2 * step)
        first, last = first or float(stats["discriminator"]), float(stats["discriminator"])
    assert last < 0.5 * first


def test_adaptive_weight_is_the_ratio_of_gradients() -> None:
    layer, adversary, x = players(weight=0.5)
    x_hat = layer(x)
    reconstruction = (x_hat - x).abs().mean()
    term = adversary.term(x_hat, reconstruction)
    (of_reconstruction,) = torch.autograd.grad(reconstruction, layer.weight, retain_graph=True)
    fooling = -adversary.discriminator(x_hat).mean()
    (of_fooling,) = torch.autograd.grad(fooling, layer.weight)
    want = 0.5 * of_reconstruction.norm() / (of_fooling.norm() + 1e-4)
    assert float(term.stats["adversary_weight"]) == pytest.approx(float(want), rel=1e-5)


def test_an_adaptive_weight_that_is_not_finite_switches_off() -> None:
    layer, adversary, x = players()
    x_hat = layer(x)
    term = adversary.term(x_hat, x_hat.sum() * float("nan"))
    assert float(term.stats["adversary_weight"]) == 0.0


def test_start_point_and_fixed_weight() -> None:
    layer, adversary, x = players(adaptive=False, weight=0.25, start_images=10)
    assert not adversary.starts_at(9)
    assert adversary.starts_at(10)
    x_hat = layer(x)
    assert float(adversary.term(x_hat, x_hat.mean()).stats["adversary_weight"]) == 0.25


def test_state_survives() -> None:
    layer, adversary, x = players()
    adversary.learn(x, layer(x), micro_batches=1, last=True)
    adversary.step(0)
    tensors, texts = adversary.state()
    saved = {file: {name: value.clone() for name, value in state.items()} for file, state in tensors.items()}
    _, other, _ = players()
    other.restore(saved, texts)
    for player in (adversary, other):
        player.learn(x, layer(x), micro_batches=1, last=True)
        player.step(2)
    pairs = zip(adversary.discriminator.parameters(), other.discriminator.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
