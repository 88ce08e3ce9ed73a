"""Augmentations are functions of the samples' keys, differentiable, and nothing at strength 0."""

import pytest
import torch

from tokenizer.losses.augment import DiffAugment, Policy

ALL: tuple[Policy, ...] = ("color", "translation", "cutout")


def picture(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("policy", ALL)
def test_nothing_changes_at_strength_0_and_something_at_1(policy: Policy) -> None:
    x, keys = picture(), torch.arange(4)
    none, full = DiffAugment([policy], strength=0.0), DiffAugment([policy])
    assert torch.allclose(none(x, none.draw(keys)), x, atol=1e-6)
    changed = full(x, full.draw(keys))
    assert changed.shape == x.shape
    assert all(not torch.allclose(one, two, atol=1e-3) for one, two in zip(changed, x, strict=True))
    assert torch.equal(DiffAugment([])(x, none.draw(keys)), x)


def test_a_sample_changes_the_same_whatever_batch_it_is_in() -> None:
    augment, x = DiffAugment(ALL), picture()
    together = augment(x, augment.draw(torch.arange(4)))
    alone = augment(x[2:3], augment.draw(torch.tensor([2])))
    assert torch.equal(together[2:3], alone)
    assert not torch.equal(augment.draw(torch.tensor([2])), augment.draw(torch.tensor([3])))


def test_ranges_of_colour() -> None:
    """Of a grey picture only the brightness changes, by at most 0.5; a colour's saturation goes from 0 to 2."""
    augment = DiffAugment(["color"])
    draws = augment.draw(torch.arange(2000))
    grey = augment(torch.zeros(2000, 3, 2, 2), draws)
    assert float(grey.abs().max()) <= 0.5
    assert float(grey.max()) > 0.45
    assert float(grey.min()) < -0.45
    colour = torch.zeros(2000, 3, 1, 1)
    colour[:, 0] = 1.0
    spread = augment(colour, draws).amax(dim=(1, 2, 3)) - augment(colour, draws).amin(dim=(1, 2, 3))
    assert float(spread.max()) <= 2.0 * 1.5
    assert float(spread.max()) > 2.5
    assert float(spread.min()) < 0.05


def test_translation_moves_by_up_to_an_eighth_and_fills_with_zeros() -> None:
    augment = DiffAugment(["translation"])
    x = torch.zeros(500, 1, 24, 16)
    x[:, :, 12, 8] = 1.0
    moved = augment(x, augment.draw(torch.arange(500)))
    assert float(moved.sum()) == 500
    places = moved.nonzero()
    assert {int(row) - 12 for row in places[:, 2]} == set(range(-3, 4))
    assert {int(column) - 8 for column in places[:, 3]} == set(range(-2, 3))
    ones = augment(torch.ones(500, 1, 24, 16), augment.draw(torch.arange(500)))
    assert set(ones.unique().tolist()) == {0.0, 1.0}
    assert float(ones.mean(dim=(1, 2, 3)).min()) == pytest.approx((21 * 14) / (24 * 16))


def test_the_hole_has_half_the_side_and_may_leave_the_picture() -> None:
    augment = DiffAugment(["cutout"])
    stays = augment(torch.ones(500, 1, 24, 16), augment.draw(torch.arange(500)))
    holes = (1 - stays).sum(dim=(1, 2, 3))
    assert float(holes.max()) == 12 * 8
    assert float(holes.min()) < 12 * 8 / 2
    assert bool((stays.mean(dim=0) < 1).all()), "some pixel is never cut"


def test_gradients_pass_where_the_picture_does() -> None:
    augment, x = DiffAugment(["translation", "cutout"]), picture().requires_grad_(True)
    draws = augment.draw(torch.arange(4))
    augment(x, draws).sum().backward()
    assert x.grad is not None
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    # as much gradient arrives as pixels are seen
    assert float(x.grad.sum()) == pytest.approx(float(augment(torch.ones_like(x), draws).sum()))
    y = picture(1).double().requires_grad_(True)
    colour = DiffAugment(["color"])
    scale = torch.autograd.functional.jvp(
        lambda p: colour(p, colour.draw(torch.tensor([5]))).sum(), y, torch.ones_like(y)
    )[1]
    assert float(scale) == pytest.approx(y.numel(), rel=1e-4)  # a brighter picture stays brighter by as much
