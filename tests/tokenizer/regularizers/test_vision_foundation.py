"""VF loss: closed form, margins, and an adaptive weight that brings its gradient to the reconstruction's length."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.vision_foundation import Balance, VisionFoundation, VisionFoundationConfig
from tokenizer.spec import PartSpec

FROZEN = {"library": "random", "channels": 16, "patch": 4, "depth": 1}
DRAW = Draw(torch.tensor([1, 2]), step=3, factor=4)


def build(**changes: Any) -> VisionFoundation:
    torch.manual_seed(0)
    return VisionFoundationConfig.parse({"frozen": FROZEN, **changes}).build(PartSpec(channels=4))


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def model(tiny_config: TokenizerConfig) -> Autoencoder:
    torch.manual_seed(0)
    return tiny_config.build()


@pytest.mark.parametrize("margins", [(0.0, 0.0), (0.5, 0.25)])
def test_it_is_both_equations(tiny_config: TokenizerConfig, margins: tuple[float, float]) -> None:
    vf = build(cosine_margin=margins[0], distance_margin=margins[1])
    step = Regularized(model(tiny_config), {"vf": vf})(picture(), DRAW)
    told = vf.project(step.z).flatten(2)
    wanted = vf.frozen(picture(), (4, 4)).flatten(2)
    cosine = F.relu(1 - margins[0] - F.cosine_similarity(told, wanted, dim=1)).mean()
    total = torch.zeros(())
    for b in range(2):
        for i in range(16):
            for j in range(16):
                ours = F.cosine_similarity(told[b, :, i], told[b, :, j], dim=0)
                theirs = F.cosine_similarity(wanted[b, :, i], wanted[b, :, j], dim=0)
                total = total + F.relu((ours - theirs).abs() - margins[1])
    torch.testing.assert_close(step.penalties["vf"], cosine + total / (2 * 16 * 16), atol=1e-5, rtol=1e-4)


def test_gradients_are_brought_to_one_length() -> None:
    z = torch.randn(2, 4, requires_grad=True)
    first, second = Balance.apply(z, 0.1)
    assert torch.equal(first, z)
    one, two = torch.randn(2, 4), 1e-3 * torch.randn(2, 4)
    (first * one).sum().add(0.1 * (second * two).sum()).backward()
    want = one + 0.1 * one.norm() / two.norm() * two
    torch.testing.assert_close(z.grad, want)


def test_a_penalty_without_a_gradient_leaves_the_others() -> None:
    z = torch.randn(2, 4, requires_grad=True)
    first, second = Balance.apply(z, 0.1)
    (first.sum() + (0.0 * second).sum()).backward()
    assert torch.equal(z.grad, torch.ones(2, 4))


def test_the_adaptive_weight_does_not_know_the_scale_of_the_penalty(tiny_config: TokenizerConfig) -> None:
    """Whatever the reconstruction's loss is multiplied by, the encoder's gradient is multiplied by too."""
    gradients = []
    for scale in (1.0, 100.0):
        network, vf = model(tiny_config), build(weight=0.5)
        step = Regularized(network, {"vf": vf})(picture(), DRAW)
        (scale * (step.x_hat - step.target).abs().mean() + 0.5 * step.penalties["vf"]).backward()
        gradients.append(next(network.encoder.parameters()).grad / scale)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-7)


def test_it_lowers_itself_and_the_frozen_encoder_stays(tiny_config: TokenizerConfig) -> None:
    network, vf = model(tiny_config), build(adaptive=False, cosine_margin=0.0, distance_margin=0.0)
    module = Regularized(network, {"vf": vf})
    before = vf.frozen(picture(), (4, 4))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = module(picture(), DRAW).penalties["vf"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(before, vf.frozen(picture(), (4, 4)))
    assert not any("frozen" in name for name in vf.state_dict())


def test_a_row_of_tokens_is_sent_to_alignment() -> None:
    with pytest.raises(ValueError, match="take alignment for a row of tokens"):
        VisionFoundationConfig.parse({"frozen": FROZEN}).check(
            PartSpec(layout="1d", channels=4, num_tokens=6)
        )
