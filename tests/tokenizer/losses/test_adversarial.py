"""Gradients of the two players stay where they belong; penalties have their closed forms and their state survives."""

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokenizer.losses.adversarial import (
    GAMES,
    Adversary,
    AdversaryConfig,
    LeCAM,
    gradient_penalty,
    last_kernel,
)

KEYS = torch.tensor([3, 4])


def players(**changes: object) -> tuple[nn.Conv2d, Adversary, Tensor]:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 1)
    config = AdversaryConfig.parse({"width": 8, "num_layers": 2} | changes)
    return layer, Adversary(config, Accelerator(cpu=True), layer.weight, 100, 2), torch.randn(2, 3, 32, 32)


def gradient_of(x_hat: Tensor, x: Tensor) -> Tensor:
    """Of the mean absolute error, with respect to x_hat."""
    leaf = x_hat.detach().requires_grad_()
    (gradient,) = torch.autograd.grad((leaf - x).abs().mean(), leaf)
    return gradient


def test_the_autoencoders_turn_leaves_no_gradient_in_the_discriminator() -> None:
    layer, adversary, x = players()
    x_hat = layer(x)
    term = adversary.term(x_hat, gradient_of(x_hat, x), KEYS)
    x_hat.backward(term.gradient)
    assert layer.weight.grad is not None
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in adversary.discriminator.parameters())


def test_the_discriminators_turn_leaves_no_gradient_in_the_autoencoder() -> None:
    layer, adversary, x = players()
    adversary.learn(x, layer(x), KEYS, images=0, micro_batches=1, last=True)
    assert layer.weight.grad is None
    assert all(parameter.grad is not None for parameter in adversary.discriminator.parameters())


def test_it_learns_to_tell_them_apart() -> None:
    _, adversary, x = players(optim={"lr": 2e-3})
    first = last = 0.0
    for step in range(30):
        stats = adversary.learn(x, 0.1 * x, KEYS, images=2 * step, micro_batches=1, last=True)
        adversary.step(2 * step)
        first, last = first or float(stats["discriminator"]), float(stats["discriminator"])
    assert last < 0.5 * first


def test_adaptive_weight_is_the_ratio_of_gradients() -> None:
    layer, adversary, x = players(weight=0.5)
    x_hat = layer(x)
    reconstruction = (x_hat - x).abs().mean()
    term = adversary.term(x_hat, gradient_of(x_hat, x), KEYS)
    (of_reconstruction,) = torch.autograd.grad(reconstruction, layer.weight, retain_graph=True)
    fooling = -adversary.discriminator(x_hat).mean()
    (of_fooling,) = torch.autograd.grad(fooling, layer.weight, retain_graph=True)
    want = 0.5 * of_reconstruction.norm() / (of_fooling.norm() + 1e-4)
    assert float(term.stats["adversary_weight"]) == pytest.approx(float(want), rel=1e-5)
    assert float(term.value) == pytest.approx(float((want * fooling).detach()), rel=1e-5)
    (at_x_hat,) = torch.autograd.grad(fooling, x_hat)
    torch.testing.assert_close(term.gradient, want * at_x_hat, rtol=1e-5, atol=1e-8)


def test_an_adaptive_weight_that_is_not_finite_switches_off() -> None:
    layer, adversary, x = players()
    x_hat = layer(x)
    term = adversary.term(x_hat, torch.full_like(x_hat, float("nan")), KEYS)
    assert float(term.stats["adversary_weight"]) == 0.0


def test_start_point_and_fixed_weight() -> None:
    layer, adversary, x = players(adaptive=False, weight=0.25, start_images=10)
    assert not adversary.starts_at(9)
    assert adversary.starts_at(10)
    x_hat = layer(x)
    assert float(adversary.term(x_hat, torch.ones_like(x_hat), KEYS).stats["adversary_weight"]) == 0.25


def test_state_survives() -> None:
    settings = {"lecam": 0.1, "r1": 2.0, "augment": ["color"]}
    layer, adversary, x = players(**settings)
    adversary.learn(x, layer(x), KEYS, images=0, micro_batches=1, last=True)
    adversary.step(0)
    tensors, texts = adversary.state()
    assert float(tensors["trainer/lecam"]["weight"]) > 0
    saved = {file: {name: value.clone() for name, value in state.items()} for file, state in tensors.items()}
    _, other, _ = players(**settings)
    other.restore(saved, texts)
    for player in (adversary, other):
        player.learn(x, layer(x), KEYS, images=2, micro_batches=1, last=True)
        player.step(2)
    pairs = zip(adversary.discriminator.parameters(), other.discriminator.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert torch.equal(adversary.lecam.anchors(), other.lecam.anchors())


class Linear(nn.Module):
    """Judges by the product with one weight a pixel, the same number at each of four places."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(1, 2, 3), keepdim=True).expand(-1, 1, 2, 2)


def test_r1_of_a_linear_discriminator_is_its_squared_weight() -> None:
    linear, x = Linear(), torch.randn(5, 3, 32, 32, requires_grad=True)
    penalty = gradient_penalty(linear(x), x)
    assert float(penalty.detach()) == pytest.approx(float(linear.weight.detach().square().sum()), rel=1e-5)
    penalty.backward()
    assert linear.weight.grad is not None
    assert torch.allclose(linear.weight.grad, 2 * linear.weight, rtol=1e-4)


def linear_players(**changes: object) -> tuple[Adversary, Linear, Tensor]:
    """A game in which pictures equal reconstructions: the hinge loss itself has no gradient."""
    _, adversary, x = players(**changes)
    linear = Linear()
    adversary.wrapped = adversary.descent.module = linear
    return adversary, linear, 0.1 * x


def test_r1_weighs_gamma_half_and_comes_rarely_but_stronger() -> None:
    """Every fourth of steps of 2: each counts four times, so the sum over 16 steps is that of a step each."""
    for every, weights in ((0, [1.0] * 16), (8, [0.0, 0.0, 0.0, 4.0] * 4)):
        adversary, linear, x = linear_players(r1=3.0, r1_every=every)
        for step, weight in enumerate(weights):
            stats = adversary.learn(x, x, KEYS, images=2 * step, micro_batches=1, last=True)
            assert ("r1" in stats) == (weight > 0)
            assert linear.weight.grad is not None
            assert torch.allclose(linear.weight.grad, weight * 3.0 * linear.weight, rtol=1e-4, atol=1e-6)
            linear.weight.grad = None


def test_r1_sees_through_the_augmentation() -> None:
    """Where nothing of a pixel reaches the discriminator, no gradient of it counts."""
    adversary, linear, x = linear_players(r1=3.0, augment=["cutout"])
    stats = adversary.learn(x, x, KEYS, images=0, micro_batches=1, last=True)
    assert 0.0 < float(stats["r1"]) < 0.99 * float(linear.weight.detach().square().sum())


def test_lecam_pulls_each_judgement_to_the_mean_of_the_other() -> None:
    lecam = LeCAM(half_life=4.0)
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])
    assert float(lecam(real, fake)) == 0.0  # there is no average yet
    lecam.update(Accelerator(cpu=True), 4, applied=True)
    assert lecam.anchors().tolist() == [2.0, -1.5]
    want = ((1 + 1.5) ** 2 + (3 + 1.5) ** 2) / 2 + ((-1 - 2) ** 2 + (-2 - 2) ** 2) / 2
    assert float(lecam(real, fake)) == pytest.approx(want)
    lecam(torch.tensor([8.0]), torch.tensor([0.0]))
    lecam.update(Accelerator(cpu=True), 4, applied=True)  # micro-batches of a step average: (2 + 8) / 2
    assert lecam.anchors().tolist() == pytest.approx(
        [(0.25 * 2 + 0.5 * 5) / 0.75, (0.25 * -1.5 + 0.5 * -0.75) / 0.75]
    )
    before = lecam.anchors()
    lecam(torch.tensor([float("nan")]), torch.tensor([0.0]))
    lecam.update(Accelerator(cpu=True), 4, applied=False)  # a skipped step leaves no trace
    assert torch.equal(lecam.anchors(), before)


def test_both_players_see_one_augmentation_of_a_sample() -> None:
    layer, adversary, x = players(augment=["color", "translation", "cutout"])
    seen: list[Tensor] = []
    adversary.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        x_hat = layer(x)
    adversary.config = adversary.config.model_copy(update={"adaptive": False})
    adversary.term(x_hat, torch.ones_like(x_hat), KEYS)
    adversary.learn(x, x_hat, KEYS, images=0, micro_batches=1, last=True)
    fake_of_one, both = seen
    assert torch.equal(fake_of_one, both[2:])
    assert not torch.equal(fake_of_one, x_hat)
    adversary.learn(x_hat, x_hat, KEYS, images=2, micro_batches=1, last=True)
    assert torch.equal(seen[2][:2], seen[2][2:])  # a perfect reconstruction cannot be told from its picture


def test_losses_at_logits_that_are_known() -> None:
    zero, two = torch.zeros(3), torch.full((3,), 2.0)
    assert float(GAMES["hinge"].tell(zero, zero)) == 1.0
    assert float(GAMES["hinge"].tell(two, -two)) == 0.0
    assert float(GAMES["hinge"].fool(two)) == -2.0
    log2 = pytest.approx(0.6931472)
    assert float(GAMES["non_saturating"].tell(zero, zero)) == log2
    assert float(GAMES["non_saturating"].fool(zero)) == log2
    probability = torch.sigmoid(two[:1])
    assert float(GAMES["non_saturating"].fool(two)) == pytest.approx(float(-probability.log()))


def test_the_last_kernel_that_trains_and_its_owner() -> None:
    decoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)))
    owner, kernel = last_kernel(decoder)
    assert owner is decoder[1][0]
    assert kernel is decoder[1][0].weight
    kernel.requires_grad_(False)
    assert last_kernel(decoder)[1] is decoder[0].weight
    with pytest.raises(ValueError, match="kernel of the decoder trains"):
        last_kernel(decoder.requires_grad_(False))
